"""The throw-away server answers, and nothing of it is left behind, however it or its owner ends."""

import asyncio
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.tools.local_postgres.observing import is_running, observe, owner_process, read_url, running_with, wait_until
from tools.local_postgres import PostgresServer, PostgresStartError, database_server
from tools.local_postgres.scratch import create_scratch_directory, sweep_abandoned


@pytest.fixture
def temporary_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty directory in which temporary directories are made from now on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_answers_over_tcp_with_the_settings_given() -> None:
    """A client reaches the database asked for, and PostgreSQL has taken the setting."""
    with PostgresServer({"max_connections": "17"}) as server:
        engine = create_async_engine(server.url("template1"), poolclass=NullPool)
        async with engine.connect() as connection:
            answer = await connection.execute(
                text("SELECT host(inet_server_addr()), current_database()::text, current_setting('max_connections')")
            )
            assert answer.one() == ("127.0.0.1", "template1", "17")
        await engine.dispose()


async def test_stop_leaves_no_process_and_no_directory() -> None:
    """Stopping does not wait for a client that is still connected; stopping again does nothing."""
    with PostgresServer() as server:
        observed = await observe(server.url())
        assert len(observed.processes) > 4
        assert is_running(observed.pid)
        assert os.getsid(observed.pid) != os.getsid(0), "Ctrl-C in a terminal would reach the server"
        client = create_async_engine(server.url())
        async with client.connect() as connection:
            await connection.execute(text("SELECT 1"))
            server.stop()
            await connection.invalidate()
        await client.dispose()

        assert observed.is_gone()
        assert not observed.directory.exists()
        with pytest.raises(RuntimeError, match="not running"):
            server.url()


async def test_starts_again_after_a_stop_but_not_twice() -> None:
    """One object is one server at a time."""
    server = PostgresServer()
    with server, pytest.raises(RuntimeError, match="running already"):
        server.start()
    with server:
        assert is_running((await observe(server.url())).pid)


async def test_two_servers_at_once() -> None:
    """They share no port, no directory and no process."""
    with PostgresServer() as first, PostgresServer() as second:
        one, other = await asyncio.gather(observe(first.url()), observe(second.url()))
    assert one.port != other.port
    assert one.data != other.data
    assert not one.processes & other.processes


# Without `unshare` only root finds another way.
@pytest.mark.parametrize("path", [os.environ["PATH"], *(["/nowhere"] if os.geteuid() == 0 else [])])
async def test_a_killed_owner_leaves_no_server_and_the_next_start_sweeps_its_directory(path: str) -> None:
    """The kernel ends the server; only files stay, until somebody starts another one."""
    with owner_process(environment={"PATH": path}) as owner:
        observed = await observe(read_url(owner))
        owner.kill()
        wait_until(observed.is_gone)
        assert observed.directory.exists()

        # The owner is a zombie until the block ends: it must not be taken for alive.
        with PostgresServer():
            assert not observed.directory.exists()
    assert owner.returncode == -signal.SIGKILL


def test_an_owner_killed_while_it_prepares_leaves_no_process(tmp_path: Path) -> None:
    """The same holds while initdb runs."""
    with owner_process(environment={"TMPDIR": str(tmp_path)}) as owner:
        wait_until(lambda: len(set(running_with(tmp_path)) - {owner.pid}) > 0)
        owner.kill()
    wait_until(lambda: running_with(tmp_path) == [])


def test_the_sweep_spares_the_living_and_knows_a_recycled_pid(temporary_root: Path) -> None:
    """The pid of a directory's owner may meanwhile be another process's."""
    living = create_scratch_directory()
    recycled = temporary_root / f"local-postgres-{os.getpid()}-1-abc"
    recycled.mkdir()
    unrelated = temporary_root / "local-postgres-notes-of-mine-x"
    unrelated.mkdir()

    sweep_abandoned()

    assert sorted(temporary_root.iterdir()) == sorted([living, unrelated])


async def test_another_port_is_tried_if_the_chosen_one_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may bind the port between the choice and PostgreSQL's own bind."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ports = iter([taken.getsockname()[1], free.getsockname()[1]])
        free.close()
        monkeypatch.setattr("tools.local_postgres.server._free_port", lambda: next(ports))
        with PostgresServer() as server:
            assert (await observe(server.url())).port != taken.getsockname()[1]


def test_ports_are_not_tried_for_ever(temporary_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few taken ports the start fails, with the log."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr("tools.local_postgres.server._free_port", lambda: taken.getsockname()[1])
        with pytest.raises(PostgresStartError, match="Address already in use"):
            PostgresServer().start()
    assert list(temporary_root.iterdir()) == []


def test_a_failed_start_shows_the_log_and_leaves_nothing(temporary_root: Path) -> None:
    """PostgreSQL's own words reach the caller."""
    with pytest.raises(PostgresStartError, match='invalid value for parameter "shared_buffers": "plenty"'):
        PostgresServer({"shared_buffers": "plenty"}).start()
    assert list(temporary_root.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "seconds", "message"),
    [("_INITDB_TIMEOUT_SECONDS", 0.1, "initdb took over"), ("_START_TIMEOUT_SECONDS", 0.0, "was not ready after")],
)
def test_a_start_given_up_halfway_leaves_nothing(
    limit: str, seconds: float, message: str, temporary_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is still running when the time is up does not stay."""
    monkeypatch.setattr(f"tools.local_postgres.server.{limit}", seconds)
    with pytest.raises(PostgresStartError, match=message):
        PostgresServer().start()
    assert list(temporary_root.iterdir()) == []
    wait_until(lambda: running_with(temporary_root) == [])


def test_an_initdb_that_hangs_goes_with_its_children(temporary_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be deaf to signals, and hands none on to the server it runs."""
    with tempfile.TemporaryDirectory(dir="/tmp") as bindir:  # any account has to reach it
        Path(bindir).chmod(0o755)
        scripts = {"postgres": "#!/bin/sh\n", "initdb": "#!/bin/sh\ntrap '' INT QUIT\nsleep 1000 &\nwait\n"}
        for name, script in scripts.items():
            Path(bindir, name).write_text(script)
            Path(bindir, name).chmod(0o755)
        monkeypatch.setenv("PG_BINDIR", bindir)
        monkeypatch.setenv("MARK", str(temporary_root))  # all of them inherit it
        monkeypatch.setattr("tools.local_postgres.server._INITDB_TIMEOUT_SECONDS", 0.5)
        started = time.monotonic()
        with pytest.raises(PostgresStartError, match="initdb took over"):
            PostgresServer().start()
        assert time.monotonic() - started < 30
    wait_until(lambda: running_with(temporary_root) == [])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://me:pw@db.example/x", "postgresql+asyncpg://me:pw@db.example/x"),
        ("postgresql://me@db.example:5433/x?a=b", "postgresql+asyncpg://me@db.example:5433/x?a=b"),
        ("postgresql+psycopg://me@db.example/x", "postgresql+psycopg://me@db.example/x"),
    ],
)
def test_a_given_database_wins_and_nothing_is_started(
    given: str, expected: str, temporary_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATABASE_URL is passed on, in the notation SQLAlchemy wants."""
    monkeypatch.setenv("DATABASE_URL", given)
    with database_server() as url:
        assert url == expected
        assert list(temporary_root.iterdir()) == []


async def test_without_a_given_database_a_server_runs_as_long_as_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there inside the block and gone after it."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with database_server() as url:
        observed = await observe(url)
    assert observed.is_gone()
