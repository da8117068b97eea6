"""Other accounts of the machine come neither into the server nor at its files."""

import json
import os
import re
import socket
import struct
import tempfile
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from sqlalchemy import make_url

from tests.tools.local_postgres.observing import observe
from tools.local_postgres import PostgresReplica, PostgresServer, PostgresStartError
from tools.local_postgres.binaries import find_binaries
from tools.local_postgres.privileges import NoUsableIdentityError, current_privileges

T = TypeVar("T")

NOBODY = 65534
UNNAMED = 54321

_PROTOCOL_3 = 196608
_SASL = 10


def as_account(uid: int, look: Callable[[], T]) -> T:
    """Call a function in a process of another account; its result is one that JSON keeps.

    The process is forked, because another account may not be able to execute this interpreter.
    """
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        # pytest-xdist has a thread, of which CPython 3.12 warns. The child takes no lock of it.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(sending, json.dumps(look()).encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - it is shown, and nothing of the test may run on in this process
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(sending)
    with open(receiving, "rb") as answer:  # noqa: PTH123 - a file descriptor
        result: T = json.loads(answer.read() or "null")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return result


def ask_for_login(port: int) -> int:
    """Ask a server for a login as the superuser, and return the code of its demand; 0 is none."""
    parameters = b"user\0postgres\0database\0postgres\0\0"
    # Not create_connection, which imports a codec that the account may not read.
    with socket.socket() as server:
        server.settimeout(10)
        server.connect(("127.0.0.1", port))
        server.sendall(struct.pack("!ii", 8 + len(parameters), _PROTOCOL_3) + parameters)
        kind, _, code = struct.unpack("!cii", server.recv(9, socket.MSG_WAITALL))
    assert kind == b"R"
    return int(code)


def within_reach(paths: Iterable[Path]) -> list[str]:
    """Return those that this process can list or read."""
    found: list[str] = []
    for path in paths:
        try:
            next(path.iterdir(), None) if path.is_dir() else path.open("rb").close()
        except PermissionError:
            continue
        found.append(str(path))
    return found


def files_of(directory: Path) -> list[Path]:
    """List all that a server has on disk, without the copied programs, which have no secrets."""
    programs = directory / "binaries"
    return [path for path in (directory, *directory.rglob("*")) if not path.is_relative_to(programs)]


def command_lines() -> Generator[str]:
    """Give the command lines of all processes, which every account can read."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue


def unix_sockets() -> str:
    """Give the kernel's list of all of them."""
    return Path("/proc/net/unix").read_text()


@pytest.fixture(params=["as it is", "without namespaces"])
def _machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run root's server once in a user namespace, where that is allowed, and once under another account."""
    if request.param == "without namespaces" and os.geteuid() == 0:
        monkeypatch.delenv("PG_BINDIR", raising=False)
        find_binaries()
        monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("_machine")
async def test_no_other_account_comes_in_or_reads_a_file() -> None:
    """Neither the server's files nor the replica's, whose configuration has the primary's password."""
    try:
        current_privileges()
    except NoUsableIdentityError:
        return
    with PostgresServer() as primary, PostgresReplica(primary) as replica:
        for server in (primary, replica):
            observed = await observe(server.url())
            files = files_of(observed.directory)
            assert observed.data / "postgresql.auto.conf" in files
            if os.geteuid() == 0:
                stranger = UNNAMED if observed.uid == NOBODY else NOBODY
                assert as_account(stranger, partial(ask_for_login, observed.port)) == _SASL
                assert as_account(stranger, partial(within_reach, [Path("/"), *files])) == ["/"]
            else:
                assert observed.directory.stat().st_mode & 0o077 == 0
            assert f".s.PGSQL.{observed.port}" not in unix_sockets()
        assert not [line for line in command_lines() if primary.password in line]


@pytest.mark.parametrize(
    ("password", "refusal"),
    [(None, "no password supplied"), ("postgres", "password authentication failed")],
)
def test_a_client_needs_the_password(password: str | None, refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP does not tell accounts apart, so it is the owner who tries."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    with PostgresServer() as server:
        url = make_url(server.url(driver="postgresql"))
        for database in ("postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match=refusal):
                psycopg.connect(host=url.host, port=url.port, user="postgres", dbname=database, password=password)
        # A connection that replicates gets all databases.
        with pytest.raises(psycopg.OperationalError, match=refusal):
            psycopg.connect(host=url.host, port=url.port, user="postgres", password=password, replication="true")
        with psycopg.connect(url.render_as_string(hide_password=False)) as own:
            rules = own.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
            assert rules == [("scram-sha-256",)]


def test_each_server_has_a_password_of_its_own_that_its_repr_does_not_show() -> None:
    passwords = {PostgresServer().password for _ in range(10)}
    assert len(passwords) == 10
    server = PostgresServer()
    assert server.password not in repr(server)


def test_initdb_gets_no_password_and_nobody_else_gets_what_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has what PostgreSQL keeps of the password, and only its account reads it."""
    script = """#!/bin/sh
        for argument; do case $argument in --pwfile=*) file=${argument#--pwfile=};; esac; done
        stat -c 'mode %a' "$file"; cat "$file"; exit 1
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as bindir:  # any account has to reach it
        Path(bindir).chmod(0o755)
        for name, content in {"postgres": "#!/bin/sh\n", "initdb": script}.items():
            Path(bindir, name).write_text(content)
            Path(bindir, name).chmod(0o755)
        monkeypatch.setenv("PG_BINDIR", bindir)
        server = PostgresServer()
        with pytest.raises(PostgresStartError) as caught:
            server.start()
    said = str(caught.value)
    assert re.search(r"mode 600\nSCRAM-SHA-256\$1:[\w+/=]+\$[\w+/=]+:[\w+/=]+", said)
    assert server.password not in said
