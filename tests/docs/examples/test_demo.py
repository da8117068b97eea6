"""The demo as its user runs it: it tells what it found, refuses what it cannot do, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest

from context_async_sqlalchemy_inspector.client import Client
from examples.shop.__main__ import main
from tests.tools.local_postgres.observing import running_with

ROOT = Path(__file__).parents[3]
SHORT_LOAD_THEN_OPEN = "import examples.shop.__main__ as m, sys; m._DEFAULT_SECONDS = 1.0; sys.exit(m.main())"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--duration", "0"], "'0' is not a positive number of seconds"),
        (["--duration", "nan"], "'nan' is not a positive number of seconds"),
        (["--port", "65536"], "'65536' is not a port from 0 to 65535"),
        (["--framework", "fortran"], "(choose from aiohttp, sanic)"),
        (["--host", "example.com"], "(choose from 127.0.0.1, 0.0.0.0)"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["shop", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    # Python 3.11 quotes the choices, later ones do not.
    assert message in re.sub(r"'([\w.]+)'(?=[,)])", r"\1", capsys.readouterr().err)


def test_a_taken_port_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["shop", "--port", str(port)])
        assert main() == 2
    assert f"Port {port} of 127.0.0.1 is taken by another program. Choose another one: make demo PORT=9000" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PG_BINDIR", "/nowhere", "No PostgreSQL programs"),
        ("DATABASE_URL", "sqlite+aiosqlite://", "The demo needs a PostgreSQL"),
        ("DATABASE_URL", "nonsense", "The database of DATABASE_URL cannot be used"),
        ("DATABASE_URL", "postgresql://me@host:hunter2/shop", "The database of DATABASE_URL cannot be used"),
        ("DATABASE_URL", "postgresql://me:pass@hunter2@host/shop", "The database of DATABASE_URL cannot be used"),
        ("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/shop", "The database of DATABASE_URL cannot be used"),
    ],
)
def test_a_missing_database_is_told(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["shop", "--port", "0"])
    assert main() == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert "hunter2" not in shown.err + shown.out


def start_demo(*arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    variables = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.Popen(  # noqa: S603 - the command is ours
        [sys.executable, "-W", "error", *arguments, "--port", "0"],
        cwd=ROOT,
        env={**variables, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(demo: subprocess.Popen[str], end: str) -> str:
    assert demo.stdout is not None
    read = ""
    while end not in read:
        line = demo.stdout.readline()
        assert line, f"the demo ended early:\n{read}"
        read += line
    return read


@pytest.mark.parametrize("framework", ["aiohttp", "sanic"])
def test_the_demo_ends_by_itself_and_tells_what_it_found(database_url: str, framework: str) -> None:
    arguments = ("-m", "examples.shop", "--duration", "2", "--framework", framework)
    with start_demo(*arguments, environment={"DATABASE_URL": database_url}) as demo:
        shown, _ = demo.communicate()
    assert demo.returncode == 0, shown
    assert "Held while paying: " in shown
    # On a busy machine two seconds are too few for a difference, and the demo says that.
    headlines = (
        "Orders that held their connection while they were paid made GET /products/{id} take ",
        "The load was too short",
    )
    assert any(headline in shown for headline in headlines)
    assert "requests waiting over time" in shown
    assert len(shown.splitlines()) <= 60
    assert "GET /products/{id} p99 ms" in shown
    assert "Checked: every answer had the status it should have" in shown
    assert "POST /orders-late holds its connection idle " in shown
    assert "└── db.session main" in shown
    assert 'db_session_early_releases_total{by="commit",db_client_connection_pool_name="main"' in shown
    assert "PROBLEM" not in shown
    assert "Traceback" not in shown


def test_a_shop_for_other_machines_listens_on_all_addresses_and_its_load_finds_it(database_url: str) -> None:
    arguments = ("-m", "examples.shop", "--duration", "0.5", "--host", "0.0.0.0")  # noqa: S104 - that is the case
    with start_demo(*arguments, environment={"DATABASE_URL": database_url}) as demo:
        shown, _ = demo.communicate()
    assert demo.returncode == 0, shown
    assert "The shop is open at http://127.0.0.1:" in shown


def test_ctrl_c_while_the_shop_is_open_leaves_nothing(tmp_path: Path) -> None:
    with start_demo("-c", SHORT_LOAD_THEN_OPEN, environment={"TMPDIR": str(tmp_path)}) as demo:
        shown = read_until(demo, "Ctrl-C ends everything.")
        url = next(word for word in shown.split() if word.endswith("/products/2"))
        with urlopen(url) as answer:  # noqa: S310 - the URL is the demo's own
            assert json.load(answer)["id"] == 2
        (inspector,) = re.findall(r"^Its sessions, live: (http\S+)$", shown, re.MULTILINE)
        (pool,) = Client(inspector).state()["workers"][0]["pools"]
        assert pool["name"] == "main"
        assert len(running_with(tmp_path)) > 1
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate()
    assert (demo.returncode, rest) == (0, "Closing.\n")
    assert running_with(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["Preparing the database ...", "The shop is open"])
def test_a_stop_at_any_time_leaves_nothing(line: str, tmp_path: Path) -> None:
    with start_demo("-m", "examples.shop", environment={"TMPDIR": str(tmp_path)}) as demo:
        read_until(demo, line)
        demo.terminate()
        rest, _ = demo.communicate()
    assert demo.returncode == 0, rest
    assert "Interrupted: nothing to compare." in rest
    assert running_with(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
