"""Temporary directories that say whose they are, so that those of killed processes can be removed."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

_PREFIX = "local-postgres"


def create_scratch_directory() -> Path:
    """Create a temporary directory named after this process."""
    pid = os.getpid()
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{pid}-{process_start(pid)}-"))


def sweep_abandoned() -> None:
    """Remove this user's scratch directories whose processes have ended; what cannot be removed stays."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}-*-*-*"):
        pid, start = directory.name.removeprefix(f"{_PREFIX}-").split("-")[:2]
        try:
            ours = directory.lstat().st_uid == os.geteuid()
        except FileNotFoundError:  # another process sweeps too
            continue
        # Where a server can outlive its owner (see `Privileges.spawn`), losing its files makes it stop by itself.
        if ours and pid.isdecimal() and process_start(int(pid)) != start:
            shutil.rmtree(directory, ignore_errors=True)


def process_start(pid: int) -> str | None:
    """Tell when a process started; together with its id this names it for good, as ids are used again.

    Args:
        pid: the id of the process.

    Returns:
        On Linux the start in clock ticks since boot; elsewhere "0" for any process. None if it has ended.

    """
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "0"
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name, in parentheses, and may hold blanks and parentheses itself.
    fields = status.rpartition(")")[2].split()
    # A zombie has ended; nobody has asked for its exit status yet.
    return None if fields[0] in {"Z", "X"} else fields[19]
