"""A real PgBouncer in transaction mode, as docs/pgbouncer.md configures it."""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.engine import URL, make_url

from tests.support.ports import free_port
from tools.local_postgres.password import new_password
from tools.local_postgres.privileges import Privileges, current_privileges
from tools.local_postgres.scratch import create_scratch_directory

DOCUMENT = Path(__file__).parents[3] / "docs" / "pgbouncer.md"
SERVER_CONNECTIONS = 2
_HOST = "127.0.0.1"
_ADMIN = "admin"
_START_SECONDS = 10.0
_KNOWS_PREPARED_STATEMENTS = (1, 21)


class Bouncer:
    """A PgBouncer that runs.

    Args:
        port: where it listens.
        process_id: its process.
        database: the database behind it.
        password: of every account, since other accounts of the machine reach the port too.

    """

    def __init__(self, port: int, process_id: int, database: URL, password: str) -> None:
        self.process_id = process_id
        self.url = database.set(host=_HOST, port=port, password=password).render_as_string(hide_password=False)
        self._port = port
        self._password = password
        self._database = database.database

    async def pool(self) -> dict[str, int]:
        """Give the numbers of SHOW POOLS for the database."""
        # The console speaks the simple protocol only, which asyncpg gives no rows of.
        rows = await asyncio.to_thread(self._show_pools)
        numbers = [row for row in rows if row["database"] == self._database]
        return {
            name: sum(int(row[name]) for row in numbers) for name in ("cl_active", "cl_waiting", "sv_active", "maxwait")
        }

    def _show_pools(self) -> list[dict[str, Any]]:
        with (
            psycopg.connect(
                host=_HOST, port=self._port, user=_ADMIN, password=self._password, dbname="pgbouncer", autocommit=True
            ) as console,
            psycopg.ClientCursor(console, row_factory=dict_row) as cursor,
        ):
            return cursor.execute("SHOW POOLS").fetchall()


def documented_settings() -> str:
    """Give the section [pgbouncer] of the document."""
    match = re.search(r"```ini\n.*?^\[pgbouncer\]\n(.*?)```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert match is not None
    return match[1]


@contextmanager
def running(program: str, database_url: str) -> Generator[Bouncer]:
    """Run a PgBouncer that ends when its owner ends.

    Args:
        program: the path of pgbouncer.
        database_url: the SQLAlchemy URL of the database behind it.

    Raises:
        RuntimeError: it does not start; the message has its log.

    """
    database, port, privileges = make_url(database_url), free_port(), current_privileges()
    directory = create_scratch_directory()
    # It may run under another account, which passes through the directory to its files.
    directory.chmod(0o711)
    configuration, users, log = directory / "pgbouncer.ini", directory / "users.txt", directory / "log"
    # The password itself: with a SCRAM secret PgBouncer would log in to the server by the client's keys.
    password = new_password()
    _write_private(users, f'"{database.username}" "{password}"\n"{_ADMIN}" "{password}"\n', privileges)
    _write_private(
        configuration,
        f"[databases]\n{database.database} = {_target(database)}\n[pgbouncer]\n{documented_settings()}"
        # The last one counts.
        f"listen_addr = {_HOST}\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\n"
        f"admin_users = {_ADMIN}\ndefault_pool_size = {SERVER_CONNECTIONS}\n"
        + ("max_prepared_statements = 0\n" if _version(program) >= _KNOWS_PREPARED_STATEMENTS else ""),
        privileges,
    )
    with log.open("wb") as output:
        process = privileges.spawn([program, str(configuration)], output)
    try:
        _wait_until_ready(process, log)
        yield Bouncer(port, process.pid, database, password)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


def _write_private(path: Path, text: str, privileges: Privileges) -> None:
    """Write a file with a password, which the account of PgBouncer alone reads."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text)
    privileges.hand_over(path)


def _target(database: URL) -> str:
    known = {
        "host": database.host,
        "port": database.port or 5432,
        "dbname": database.database,
        "user": database.username,
        "password": database.password,
    }
    return " ".join(f"{name}={value}" for name, value in known.items() if value is not None)


def _version(program: str) -> tuple[int, ...]:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return tuple(int(number) for number in re.findall(r"\d+", answer.stdout)[:2])


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while "process up" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"pgbouncer did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.01)
