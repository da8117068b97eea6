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
_LONGEST_TOKEN = 100
_OTHERS = 0o077
_SERVERS_THAT_FORK = frozenset({"gunicorn"})


class NotPrivateError(Exception):
    """Raised if others than the user of this process may reach into a directory."""


def parent_server() -> str | None:
    """Return what identifies the server process that has started this worker; None if this is no worker of a server.

    See :func:`identity`.
    """
    # uvicorn, Sanic and hypercorn start their workers by multiprocessing.
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        return identity(parent.pid)
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    return identity(os.getppid()) if name in _SERVERS_THAT_FORK else None


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


def shared_token(directory: Path, *, outlives_service: bool = False) -> tuple[str, bool]:
    """Return the token of a directory's processes, and whether this call has made it.

    Args:
        directory: the directory.
        outlives_service: whether the next start of the service finds the directory again. A process that finds no other
            one alive then makes a new token.

    Raises:
        OSError: the file of the token cannot be read or written.

    """
    import fcntl  # noqa: PLC0415 - Windows does not have it

    guard = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        # It stays open until the process ends, so that the lock below tells other processes that this one lives.
        file = os.open(directory / _TOKEN, os.O_RDWR | os.O_CREAT, 0o600)
        token = os.pread(file, _LONGEST_TOKEN, 0).decode()
        is_new = not token or (outlives_service and not _is_locked(file))
        if is_new:
            token = secrets.token_urlsafe(32)
            os.pwrite(file, token.encode(), 0)
        fcntl.flock(file, fcntl.LOCK_SH)
    finally:
        os.close(guard)
    return token, is_new


def _is_locked(file: int) -> bool:
    import fcntl  # noqa: PLC0415 - Windows does not have it

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def identity(pid: int) -> str:
    """Return what no other process has, also after the system has used its id again, or in another container."""
    return f"{pid}-{start_of(pid)}-{_namespace()}"


def _namespace() -> int:
    """Return which process ids this process sees, or 0 where the system does not tell it."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def start_of(pid: int) -> str:
    """Return when a process has started, in ticks since the boot, or 0 where the system does not tell it."""
    with contextlib.suppress(OSError, IndexError):
        # The name of the program may have spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return "0"


def _has_ended(name: str) -> bool:
    pid, start, namespace, *_ = *name.split("-"), "", ""
    # A container with a namespace of its own may share the directory, and its processes cannot be seen from here.
    if not pid.isdecimal() or namespace != str(_namespace()):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return start != start_of(int(pid))
