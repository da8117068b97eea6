"""Which processes are the workers of one service, and the private directory in which they meet."""

import contextlib
import multiprocessing
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path

_TOKEN = "token"  # noqa: S105 - the name of a file
_OTHERS = 0o077
_SERVERS_THAT_FORK = frozenset({"gunicorn"})


class NotPrivateError(Exception):
    """Raised if others than the user of this process may reach into a directory."""


def parent_server() -> str | None:
    """Return what identifies the server process that has started this worker; None if this is no worker of a server.

    The parent's start time is a part of it, because the system uses process ids again.
    """
    # uvicorn, Sanic and hypercorn start their workers by multiprocessing.
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        return _identity(parent.pid)
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    return _identity(os.getppid()) if name in _SERVERS_THAT_FORK else None


def meeting_place(server: str, name: str) -> Path:
    """Return the directory in which the workers of a server meet, which is made if there is none.

    Directories of servers that have ended are removed.

    Args:
        server: the result of :func:`parent_server`.
        name: what else the workers have in common, so that two pages of one server do not meet.

    Raises:
        NotPrivateError: others may reach into the directory.
        OSError: the directory cannot be made.

    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime) if runtime and os.access(runtime, os.W_OK) else Path(tempfile.gettempdir())
    own = private(base / f"casqlalchemy-{os.geteuid()}")
    for present in own.iterdir():
        if _has_ended(present.name):
            shutil.rmtree(present, ignore_errors=True)
    return private(own / f"{server}-{name}")


def private(directory: Path) -> Path:
    """Return a directory that only the user of this process can reach into; it is made if there is none.

    Raises:
        NotPrivateError: the directory belongs to another user, is a link, or is open to others.
        OSError: it cannot be made.

    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise NotPrivateError(
            f"{directory} must be a directory of user {os.geteuid()} with mode 0700, and no link: it belongs to user "
            f"{found.st_uid} and has mode {stat.S_IMODE(found.st_mode):04o}"
        )
    return directory


def shared_token(directory: Path) -> tuple[str, bool]:
    """Return the token of a directory's processes, and whether this call has made it."""
    path = directory / _TOKEN
    made = secrets.token_urlsafe(32)
    draft = directory / f".{secrets.token_hex(4)}"
    # A link appears with its whole content, and only one process can make it.
    draft.touch(mode=0o600, exist_ok=False)
    try:
        draft.write_text(made)
        os.link(draft, path)
    except FileExistsError:
        return path.read_text(), False
    finally:
        draft.unlink()
    return made, True


def _identity(pid: int) -> str:
    return f"{pid}-{start_of(pid)}"


def start_of(pid: int) -> str:
    """Return when a process has started, in ticks since the boot, or 0 where the system does not tell it."""
    with contextlib.suppress(OSError, IndexError):
        # The name of the program may have spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return "0"


def _has_ended(name: str) -> bool:
    pid, _, rest = name.partition("-")
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return rest.partition("-")[0] != start_of(int(pid))
