"""What the tests of the throw-away server look at: processes, ports and directories, from outside."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

_ROOT = Path(__file__).parents[3]
_DEADLINE_SECONDS = 20.0
_OWNER = """
import sys
from tools.local_postgres import PostgresServer
with PostgresServer() as server:
    print(server.url(), flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Observed:
    """What a running server says of itself."""

    port: int
    data: Path
    pid: int
    processes: frozenset[int]

    @property
    def directory(self) -> Path:
        """Everything the server keeps on disk."""
        return self.data.parent

    @property
    def uid(self) -> int:
        """The user id the server runs under."""
        return Path(f"/proc/{self.pid}").stat().st_uid

    @property
    def program(self) -> Path:
        """The file the server was started from."""
        return Path(f"/proc/{self.pid}/exe").readlink()

    def is_gone(self) -> bool:
        """Tell whether the port refuses and every process has ended."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) != 0 and not any(map(is_running, self.processes))


async def observe(url: str) -> Observed:
    """Ask a server for its processes and its data directory, over TCP with asyncpg."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            data = (await connection.execute(text("SHOW data_directory"))).scalar_one()
            pids = (await connection.execute(text("SELECT pid FROM pg_stat_activity"))).scalars().all()
            pid_file = (await connection.execute(text("SELECT pg_read_file('postmaster.pid')"))).scalar_one()
    finally:
        await engine.dispose()
    pid = int(pid_file.splitlines()[0])
    return Observed(port=make_url(url).port or 0, data=Path(data), pid=pid, processes=frozenset({pid, *pids}))


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def running_with(path: Path) -> list[int]:
    """Find the processes that have the path in their command line or in the environment they were started with."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is another user's
            continue
        if os.fsencode(path) in known:
            found.append(int(process.name))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {_DEADLINE_SECONDS} s"
        time.sleep(0.01)


@contextmanager
def owner_process(
    *prefix: str, environment: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[str], None, None]:
    """Run another process that owns a server: it prints the URL, and stops the server when its stdin ends."""
    with subprocess.Popen(  # noqa: S603 - the command is the tests' own
        [*prefix, sys.executable, "-c", _OWNER],
        # asyncpg and Python look into the home directory: it has to be one that everybody may look into.
        env={**os.environ, "PYTHONPATH": str(_ROOT), "HOME": "/", **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        yield owner


def read_url(owner: subprocess.Popen[str]) -> str:
    """Wait for the URL an owner prints once its server is ready."""
    assert owner.stdout is not None
    return owner.stdout.readline().strip()
