"""The workers of a server: each shows all of them, and none shows those of another service."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from context_async_sqlalchemy_inspector import service, workers
from context_async_sqlalchemy_inspector.service import NotPrivateError, private, shared_token
from context_async_sqlalchemy_inspector.tokens import TOKEN_VARIABLE
from context_async_sqlalchemy_inspector.workers import Workers
from tests.adapters.inspector.servers import SERVERS, serving_workers, states_at
from tests.support.database import Database
from tests.support.waiting import until_async


@pytest.mark.parametrize("server", SERVERS)
async def test_each_worker_shows_all_workers_by_one_token(server: str, database: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shown: list[Any] = []
    async with serving_workers(server, log, database.url) as port:

        async def shows(count: int) -> bool:
            shown[:] = await states_at(port, log)
            return len(shown) == count

        async def shows_both_well() -> bool:
            return await shows(2) and not any(worker["error"] for worker in shown)

        await until_async(shows_both_well, "a worker shows both")
        asked, other = (worker["pid"] for worker in shown)
        assert log.read_text().count("/_db?token=") == 1

        # The other worker has to answer the next visitor. It says that it cannot reach the first one.
        os.kill(asked, signal.SIGSTOP)
        await until_async(lambda: shows(2), "the other one shows both")
        assert [worker["pid"] for worker in shown] == [other, asked]
        assert "has not answered within 0.2 s" in shown[1]["error"]

        os.kill(asked, signal.SIGKILL)

        async def is_left_out() -> bool:
            shown[:] = await states_at(port, log)
            return bool(shown) and asked not in {worker["pid"] for worker in shown}

        await until_async(is_left_out, "the dead worker is left out")


@pytest.fixture
def meeting() -> Generator[Path]:
    """Make a directory with a short path, because the path of a socket has a limit."""
    with tempfile.TemporaryDirectory(prefix="m-") as directory:
        yield Path(directory)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the others for as long as a busy machine needs."""
    monkeypatch.setattr(workers, "PATIENCE", 20.0)


@asynccontextmanager
async def _worker(pid: int, directory: Path) -> AsyncGenerator[Workers]:
    worker = Workers(lambda: {"pid": pid, "error": None}, "/_db", directory)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


async def _pids_beside(worker: Workers) -> list[int]:
    return [other["pid"] for other in await worker.others()]


def _sockets_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.sock"))


@pytest.mark.usefixtures("patient")
async def test_processes_with_one_directory_show_each_other(meeting: Path) -> None:
    async with _worker(1, meeting) as one, _worker(3, meeting) as three:
        async with _worker(2, meeting) as two:
            assert await _pids_beside(one) == [2, 3]
            assert await _pids_beside(two) == [1, 3]
        assert await _pids_beside(three) == [1]
        three.start()
        assert len(_sockets_in(meeting)) == 2
    assert _sockets_in(meeting) == []


@contextmanager
def _listening(meeting: Path, name: str) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(meeting / name))
        listener.listen()
        listener.settimeout(0)
        yield listener


@pytest.mark.usefixtures("patient")
async def test_a_dead_worker_is_left_out_and_its_socket_is_removed(meeting: Path) -> None:
    with _listening(meeting, "7-dead.sock"):
        pass
    async with _worker(1, meeting) as one:
        assert await _pids_beside(one) == []
        assert "7-dead.sock" not in _sockets_in(meeting)


async def test_a_worker_that_does_not_answer_is_shown_as_such(meeting: Path) -> None:
    with _listening(meeting, "8-mute.sock"):
        async with _worker(1, meeting) as one:
            (mute,) = await one.others()
    assert (mute["pid"], mute["sessions"]["total"]) == (8, 0)
    assert mute["error"] == "it has not answered within 0.2 s, so its event loop is busy or blocked"


@pytest.mark.usefixtures("patient")
async def test_an_answer_that_is_cut_is_shown_as_such(meeting: Path) -> None:
    with _listening(meeting, "9-cut.sock") as listener:
        async with _worker(1, meeting) as one:
            asking = asyncio.create_task(one.others())
            answering, _ = await asyncio.get_running_loop().sock_accept(listener)
            with answering:
                answering.send(b"{")
            (cut,) = await asking
    assert (cut["pid"], cut["error"]) == (9, "its answer cannot be read (JSONDecodeError)")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("answer", [b"{}", b"[]", b'{"version": 0, "worker": {}}', b'{"pid": 9}'])
async def test_a_worker_of_another_version_is_shown_as_such(answer: bytes, meeting: Path) -> None:
    async def other(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    (meeting / "no-worker.sock").touch()
    async with await asyncio.start_unix_server(other, meeting / "9-other.sock"), _worker(1, meeting) as one:
        (shown,) = await one.others()
    assert (shown["pid"], shown["error"]) == (9, "it runs another version of the inspector: start all workers again")


@pytest.mark.usefixtures("patient")
async def test_a_socket_that_was_removed_is_made_again(meeting: Path) -> None:
    async with _worker(1, meeting) as one, _worker(2, meeting) as two:
        for name in _sockets_in(meeting):
            (meeting / name).unlink()
        one.start()
        two.start()
        assert await _pids_beside(one) == [2]
        assert await _pids_beside(two) == [1]


async def test_a_socket_that_cannot_be_served_is_said(meeting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_server(*_arguments: Any, **_options: Any) -> asyncio.Server:
        raise OSError("no more files")

    monkeypatch.setattr(asyncio, "start_unix_server", no_server)
    async with _worker(1, meeting) as one:
        await until_async(lambda: _is_noted(one, "its socket cannot be served (no more files)"), "the note says it")
    assert _sockets_in(meeting) == []


async def test_a_process_that_no_server_has_started_is_alone() -> None:
    worker = Workers(dict, "/_db")
    worker.start()
    assert worker.token() is None
    assert await worker.others() == []
    assert worker.note is None


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o750)
    return tmp_path


async def test_a_directory_that_is_open_to_others_is_not_used(
    open_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Workers(dict, "/_db", open_directory)
    worker.start()
    worker.start()
    assert worker.token() is None
    assert await worker.others() == []
    assert worker.note is not None
    (record,) = caplog.records
    for said in (worker.note, record.message):
        assert "with mode 0700, and no link: it belongs to user" in said


@pytest.mark.usefixtures("patient")
async def test_workers_that_cannot_share_a_token_say_how_to(
    open_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Workers(dict, "/_db", open_directory)
    assert worker.token() is None
    worker.start()
    assert worker.note is not None
    (record,) = caplog.records
    for said in (worker.note, record.message):
        assert f"Each worker has made a token of its own: set {TOKEN_VARIABLE}, or pass token=." in said


@pytest.mark.usefixtures("patient")
async def test_a_note_is_gone_when_the_worker_can_be_asked(meeting: Path) -> None:
    _set_mode(meeting, 0o750)
    async with _worker(1, meeting) as one:
        assert await _is_noted(one, "with mode 0700")
        _set_mode(meeting, 0o700)
        one.start()
        await until_async(lambda: _is_noted(one, None), "the note is gone")
        async with _worker(2, meeting) as two:
            assert await _pids_beside(two) == [1]


def _set_mode(directory: Path, mode: int) -> None:
    directory.chmod(mode)


async def _is_noted(worker: Workers, words: str | None) -> bool:
    await asyncio.sleep(0)
    return worker.note is None if words is None else words in (worker.note or "")


def test_a_link_to_a_private_directory_is_not_private(tmp_path: Path) -> None:
    private(tmp_path / "target")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(NotPrivateError):
        private(tmp_path / "link")


async def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    worker = Workers(dict, "/_db", tmp_path / ("m" * 100))
    worker.start()
    assert worker.note is not None
    assert "would be longer than 100 bytes" in worker.note


async def test_a_platform_without_unix_sockets_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_HAS_SOCKETS", False)
    worker = Workers(dict, "/_db", tmp_path / "m")
    worker.start()
    assert worker.token() is None
    assert worker.note is not None
    assert "this platform has no Unix sockets" in worker.note


def test_the_token_is_the_same_for_all_and_only_the_user_can_read_it(tmp_path: Path) -> None:
    token, is_new = shared_token(tmp_path)
    assert is_new
    assert shared_token(tmp_path) == (token, False)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_start_after_all_processes_have_ended_makes_a_new_token_and_logs_it(tmp_path: Path) -> None:
    program = (
        "import sys; from context_async_sqlalchemy_inspector import Inspector; "
        "Inspector(workers_directory=sys.argv[1]); print('made', flush=True); sys.stdin.read()"
    )
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}

    @contextmanager
    def started() -> Generator[subprocess.Popen[str]]:
        process = subprocess.Popen(  # noqa: S603 - a program of this test
            [sys.executable, "-c", program, str(tmp_path / "m")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "made\n"
            yield process

    def logged(process: subprocess.Popen[str]) -> str:
        return process.communicate(timeout=50)[1].partition("?token=")[2].partition(":")[0]

    with started() as one, started() as two:
        first = (logged(one), logged(two))
    assert first[0]
    assert not first[1]
    with started() as later:
        assert logged(later) not in ("", first[0])


def test_the_directories_of_servers_that_have_ended_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    own_start = service.start_of(os.getpid())
    own = service.identity(os.getpid())
    namespace = own.rpartition("-")[2]
    of_ended = service.meeting_place(f"{int(ended.stdout)}-1-{namespace}", "page")
    of_container = service.meeting_place(f"{int(ended.stdout)}-1-1", "page")
    of_earlier = service.meeting_place(f"{os.getpid()}-1-{namespace}", "page")
    present = service.meeting_place(own, "page")
    assert not of_ended.exists()
    assert of_container.exists()
    assert of_earlier.exists() is (own_start == "0")
    assert present.is_dir()


def test_two_servers_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["/venv/bin/gunicorn", "shop:app"])
    server = service.parent_server()
    assert server is not None
    assert server.startswith(f"{os.getppid()}-")
    monkeypatch.setattr(os, "getppid", os.getpid)
    assert service.parent_server() not in (None, server)
    monkeypatch.setattr(sys, "argv", ["shop.py"])
    assert service.parent_server() is None
