"""The warning about several worker processes whose counts are not put together."""

import logging
import os
import re
import sys
from functools import cache
from pathlib import Path

logger = logging.getLogger("context_async_sqlalchemy")

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


@cache
def warn_once(workers: int) -> None:
    """Log that the metrics of this process are not those of the whole server.

    Args:
        workers: the number of the worker processes.

    """
    logger.warning(
        "the server has %d worker processes, and PROMETHEUS_MULTIPROC_DIR is not set: each scrape shows the counts of "
        "one worker only, so Prometheus takes every change of worker for a reset. Set the variable to an empty "
        "directory in the environment of the server (docs/how-to/serve-metrics.md)",
        workers,
    )


def warn_of_several(workers: int) -> None:
    """Warn once in this process, if there are several workers.

    Args:
        workers: the number of the worker processes.

    """
    if workers > 1:
        warn_once(workers)
