"""The command of the server that runs this process."""

import os
import re
import sys
from pathlib import Path

_SERVERS = {"gunicorn", "hypercorn", "uvicorn"}
_WORKERS = re.compile(r"(?:^|\s)(?:-w\s*|--workers[\s=])(\d+)(?=\s|$)")


def workers_of_command() -> int:
    """Return the number of workers by the command that this process runs, or 1 if the command does not tell it.

    A worker of gunicorn, hypercorn or uvicorn has the command of its main process. Other programs are left out, because
    a platform may set ``WEB_CONCURRENCY`` for a program that does not read it.
    """
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    if name not in _SERVERS:
        return 1
    own = " ".join(sys.argv[1:])
    by_default = os.environ.get("WEB_CONCURRENCY", "") if name != "hypercorn" else ""
    if name == "gunicorn":
        own = f"{os.environ.get('GUNICORN_CMD_ARGS', '')} {own}"
    given = _WORKERS.findall(own)
    # The last one counts, as it does for the servers.
    number = given[-1] if given else by_default
    return int(number) if number.isdigit() else 1
