"""The server itself, and the one function the demo and the tests call."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from local_postgres.binaries import Binaries, find_binaries
from local_postgres.privileges import Privileges, current_privileges
from local_postgres.scratch import create_scratch_directory, sweep_abandoned

_HOST = "127.0.0.1"
_USER = "postgres"
# Fast, and unsafe on a power cut: the data does not outlive the server.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB"}
_PORT_ATTEMPTS = 5
_INITDB_TIMEOUT_SECONDS = 60.0
_START_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 10.0
_REMOVE_TIMEOUT_SECONDS = 2.0
_POLL_SECONDS = 0.01
_LOG_LINES = 20
# The line of postmaster.pid that holds the server's state; `pg_ctl --wait` reads the same one.
_STATE_LINE = 7


class PostgresStartError(RuntimeError):
    """The server did not start; the message carries the last lines of its log.

    Args:
        problem: what went wrong.
        log: the last lines of the log.

    """

    def __init__(self, problem: str, log: str) -> None:
        super().__init__(f"{problem}. The last lines of its log:\n{log}")


class PostgresServer:
    """A PostgreSQL server with a data directory of its own, both gone when the block ends.

    It listens on TCP on 127.0.0.1 only, at a free port, and lets every process of this machine in as the superuser
    `postgres` without a password: keep nothing of value in it. On Linux it also ends when its owner is killed; the
    kernel takes the end of the thread that called `start` for that, so start it from one that lives long enough,
    best the main thread.

    Args:
        settings: PostgreSQL settings by name, in the notation of postgresql.conf; they win over the defaults
            (no fsync, small buffers), but not over the address and the port.

    Raises:
        RuntimeError: see `start`.

    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make a new database cluster and start the server; it accepts connections when this returns.

        Raises:
            PostgresBinariesNotFoundError: there are no PostgreSQL programs.
            NoUsableIdentityError: this user cannot run them; PostgreSQL refuses root.
            PostgresStartError: the server did not start; nothing is left of it.
            OSError: a program cannot be executed, or there is no room for the data; nothing is left either.
            RuntimeError: it is running already.

        """
        if self._directory is not None:
            raise RuntimeError("This server is running already: stop it first.")
        binaries = find_binaries()
        privileges = current_privileges()
        sweep_abandoned()
        self._directory = create_scratch_directory()
        try:
            self._start_in(self._directory, binaries, privileges)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Disconnect the clients, stop the server and remove its data; does nothing if it is not running."""
        try:
            if self._process is not None:
                _end(self._process)
        finally:
            if self._directory is not None:
                _remove(self._directory)
            self._directory = self._process = self._port = None

    def url(self, database: str = "postgres", driver: str = "postgresql+asyncpg") -> str:
        """Give the SQLAlchemy URL of a database of this server.

        Args:
            database: the name of the database.
            driver: SQLAlchemy's dialect and driver.

        Raises:
            RuntimeError: the server is not running.

        """
        if self._port is None:
            raise RuntimeError("This server is not running: it has no URL.")
        return f"{driver}://{_USER}@{_HOST}:{self._port}/{database}"

    def _start_in(self, directory: Path, binaries: Binaries, privileges: Privileges) -> None:
        programs = privileges.executable(binaries, directory).directory
        data = directory / "data"
        data.mkdir(mode=0o700)
        privileges.hand_over(data)
        log = directory / "log"

        initdb = [str(programs / "initdb"), f"--pgdata={data}", f"--username={_USER}", "--auth=trust"]
        initdb += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        with log.open("wb") as output:
            self._process = privileges.spawn(initdb, output)
        try:
            status = self._process.wait(_INITDB_TIMEOUT_SECONDS)
        except BaseException as error:
            # It hands no signal on to the server it runs; both are in the session that was made for it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise PostgresStartError(f"initdb took over {_INITDB_TIMEOUT_SECONDS} seconds", _tail(log)) from None
            raise
        if status != 0:
            raise PostgresStartError(f"initdb failed with status {status}", _tail(log))

        for _ in range(_PORT_ATTEMPTS):
            port = _free_port()
            settings = {**self._settings, "listen_addresses": _HOST, "port": str(port), "unix_socket_directories": ""}
            command = [str(programs / "postgres"), "-D", str(data)]
            command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            with log.open("wb") as output:
                self._process = privileges.spawn(command, output)
            if _became_ready(self._process, data / "postmaster.pid", log):
                self._port = port
                return
            if "Address already in use" not in _tail(log):
                raise PostgresStartError(f"PostgreSQL ended with status {self._process.returncode}", _tail(log))
        raise PostgresStartError(f"PostgreSQL found {_PORT_ATTEMPTS} ports taken, one after another", _tail(log))


@contextlib.contextmanager
def database_server() -> Generator[str, None, None]:
    """Give the SQLAlchemy URL of `DATABASE_URL` if that is set, else of a server that runs as long as the block.

    `postgres://` and `postgresql://` become `postgresql+asyncpg://`; any other URL is passed on as it is.

    Raises:
        RuntimeError: a server was needed and did not start; see `PostgresServer.start`.

    """
    given = os.environ.get("DATABASE_URL")
    if given:
        scheme, separator, rest = given.partition("://")
        yield f"postgresql+asyncpg://{rest}" if separator and scheme in {"postgres", "postgresql"} else given
        return
    with PostgresServer() as server:
        yield server.url()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _became_ready(process: subprocess.Popen[bytes], pid_file: Path, log: Path) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            lines = pid_file.read_text(encoding="utf-8").splitlines()
            if len(lines) > _STATE_LINE and lines[_STATE_LINE].strip() == "ready":
                return True
        if time.monotonic() > deadline:
            raise PostgresStartError(f"PostgreSQL was not ready after {_START_TIMEOUT_SECONDS} seconds", _tail(log))
        time.sleep(_POLL_SECONDS)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    # Fast shutdown (sends the clients away), immediate shutdown, force. SIGTERM would wait for the clients.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_SECONDS)
            return


def _remove(directory: Path) -> None:
    # Killed processes may create a last file while this runs. What stays all the same, a later sweep removes.
    deadline = time.monotonic() + _REMOVE_TIMEOUT_SECONDS
    shutil.rmtree(directory, ignore_errors=True)
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        shutil.rmtree(directory, ignore_errors=True)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
