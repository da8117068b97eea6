"""The server itself, and the one function the demo and the tests call."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.local_postgres.binaries import find_binaries
from tools.local_postgres.files import Files
from tools.local_postgres.password import new_password, scram_secret
from tools.local_postgres.privileges import current_privileges
from tools.local_postgres.scratch import create_scratch_directory, sweep_abandoned

_HOST = "127.0.0.1"
_USER = "postgres"
# Fast, and unsafe on a power cut: the data does not outlive the server.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB"}
SYNCHRONOUS_REPLICATION = {"synchronous_standby_names": "*", "synchronous_commit": "on"}
"""Settings of a primary whose commits wait until a replica has them: until there is one, they wait for ever."""

_PORT_ATTEMPTS = 5
_INITDB_TIMEOUT_SECONDS = 60.0
_START_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 10.0
_REMOVE_TIMEOUT_SECONDS = 2.0
_POLL_SECONDS = 0.01
# The lines of postmaster.pid that hold the key and the id of shared memory, and the server's state; `pg_ctl --wait`
# reads the same one.
_MEMORY_LINE = 6
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

    It listens on TCP on 127.0.0.1 only, at a free port. Other accounts of the machine reach that port too, so the one
    account of the server, the superuser `postgres`, has a random password. Only this object and its `url` have it.

    On Linux the server also ends when its owner is killed; the kernel takes the end of the thread that called `start`
    for that, so start it from one that lives long enough, best the main thread.

    Args:
        settings: PostgreSQL settings by name, in the notation of postgresql.conf; they win over the defaults
            (no fsync, small buffers), but not over the address and the port.

    Raises:
        RuntimeError: see `start`.

    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._password = new_password()
        self._directory: Path | None = None
        self._files: Files | None = None
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
            self._files = Files.prepare(self._directory, binaries, privileges)
            self._make_cluster(self._files)
            self._serve(self._files)
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
            self._directory = self._files = self._process = self._port = None

    def url(self, database: str = "postgres", driver: str = "postgresql+asyncpg") -> str:
        """Give the SQLAlchemy URL of a database of this server. It has the password: do not print it.

        Args:
            database: the name of the database.
            driver: SQLAlchemy's dialect and driver.

        Raises:
            RuntimeError: the server is not running.

        """
        host, port = self.address
        return f"{driver}://{_USER}:{self._password}@{host}:{port}/{database}"

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port of this server.

        Raises:
            RuntimeError: the server is not running.

        """
        if self._port is None:
            raise RuntimeError("This server is not running: it has no address.")
        return _HOST, self._port

    @property
    def password(self) -> str:
        """The password of the superuser."""
        return self._password

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings that it is started with, the defaults among them."""
        return self._settings

    def kill(self) -> None:
        """End the server as a crash does: nobody is told, nothing is written. Its data stays until ``stop``.

        Raises:
            RuntimeError: the server is not running.

        """
        if self._process is None or self._files is None:
            raise RuntimeError("This server is not running: there is nothing to kill.")
        shared_memory = (self._files.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[_MEMORY_LINE]
        # Its children look for it whenever they wait for something, and end too.
        self._process.kill()
        self._process.wait(_STOP_TIMEOUT_SECONDS)
        # A segment of a few bytes that only the server itself would remove, and of which a machine has 4096.
        remove = shutil.which("ipcrm")
        if remove is not None:
            subprocess.run([remove, "--shmem-id", shared_memory.split()[1]], capture_output=True, check=False)  # noqa: S603

    def _make_cluster(self, files: Files) -> None:
        # initdb takes what PostgreSQL keeps of a password for the password, so the password itself is on no disk.
        secret = files.write_private("secret", scram_secret(self._password))
        arguments = [f"--pgdata={files.data}", f"--username={_USER}", "--auth=scram-sha-256", f"--pwfile={secret}"]
        arguments += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        self._run(files, "initdb", arguments)
        secret.unlink()

    def _run(
        self, files: Files, program: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Run a program that makes the data, to its end."""
        with files.open_log() as output:
            self._process = files.spawn(program, arguments, output, environment)
        try:
            status = self._process.wait(_INITDB_TIMEOUT_SECONDS)
        except BaseException as error:
            # initdb hands no signal on to the server it runs; both are in the session that was made for it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise PostgresStartError(
                    f"{program} took over {_INITDB_TIMEOUT_SECONDS} seconds", files.tail()
                ) from None
            raise
        if status != 0:
            raise PostgresStartError(f"{program} failed with status {status}", files.tail())

    def _serve(self, files: Files) -> None:
        for _ in range(_PORT_ATTEMPTS):
            port = _free_port()
            settings = {**self._settings, "listen_addresses": _HOST, "port": str(port), "unix_socket_directories": ""}
            arguments = ["-D", str(files.data)]
            arguments += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            with files.open_log() as output:
                self._process = files.spawn("postgres", arguments, output)
            if _became_ready(self._process, files):
                self._port = port
                return
            if "Address already in use" not in files.tail():
                raise PostgresStartError(f"PostgreSQL ended with status {self._process.returncode}", files.tail())
        raise PostgresStartError(f"PostgreSQL found {_PORT_ATTEMPTS} ports taken, one after another", files.tail())


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


def _became_ready(process: subprocess.Popen[bytes], files: Files) -> bool:
    pid_file = files.data / "postmaster.pid"
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            lines = pid_file.read_text(encoding="utf-8").splitlines()
            if len(lines) > _STATE_LINE and lines[_STATE_LINE].strip() == "ready":
                return True
        if time.monotonic() > deadline:
            raise PostgresStartError(f"PostgreSQL was not ready after {_START_TIMEOUT_SECONDS} seconds", files.tail())
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
