"""Several workers without a directory for their files are warned of, where the server tells their number."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy_prometheus import PrometheusObserver, multiprocess, several_workers
from tests.adapters.prometheus.served import URL
from tests.adapters.prometheus.test_several_processes import SERVERS
from tests.support.ports import free_port
from tests.support.waiting import until

BIN = "/srv/venv/bin"


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    several_workers.warn_once.cache_clear()
    for name in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.delenv(name, raising=False)
    yield
    several_workers.warn_once.cache_clear()


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "worker processes" in record.message]


@pytest.mark.parametrize(
    ("command", "environment", "workers"),
    [
        (f"{BIN}/uvicorn shop:app --workers 4", {}, 4),
        (f"{BIN}/uvicorn shop:app --workers=1", {"WEB_CONCURRENCY": "4"}, 1),
        (f"{BIN}/uvicorn shop:app", {"WEB_CONCURRENCY": "4"}, 4),
        ("/lib/uvicorn/__main__.py shop:app --workers 3 --log-level info", {}, 3),
        (f"{BIN}/uvicorn shop:app", {}, 1),
        (f"{BIN}/gunicorn shop:app -w4", {}, 4),
        (f"{BIN}/gunicorn -w 5 shop:app", {"WEB_CONCURRENCY": "1"}, 5),
        (f"{BIN}/gunicorn shop:app", {"GUNICORN_CMD_ARGS": "--bind=:80 --workers=6"}, 6),
        (f"{BIN}/gunicorn shop:app --workers 2", {"GUNICORN_CMD_ARGS": "--workers=6"}, 2),
        (f"{BIN}/gunicorn shop:app", {"WEB_CONCURRENCY": "many"}, 1),
        (f"{BIN}/gunicorn shop:app --worker-connections 9 --workers-of-mine 8", {}, 1),
        (f"{BIN}/hypercorn shop:app --workers 2", {"WEB_CONCURRENCY": "4"}, 2),
        (f"{BIN}/hypercorn shop:app", {"WEB_CONCURRENCY": "4"}, 1),
        ("shop.py --workers 4", {"WEB_CONCURRENCY": "4"}, 1),
        ("", {"WEB_CONCURRENCY": "4"}, 1),
    ],
)
def test_the_number_is_read_from_the_command(
    command: str,
    environment: dict[str, str],
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", command.split(" "))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        PrometheusObserver(CollectorRegistry())
    warnings = _warnings(caplog)
    assert len(warnings) == (1 if workers > 1 else 0)
    assert all(f"has {workers} worker processes, and PROMETHEUS_MULTIPROC_DIR is not set" in each for each in warnings)


def test_the_servers_that_say_it_are_believed(observer: PrometheusObserver, caplog: pytest.LogCaptureFixture) -> None:
    observer.workers_starting(1)
    multiprocess.on_starting(SimpleNamespace(master_pid=0, cfg=SimpleNamespace(workers=1)))
    assert _warnings(caplog) == []
    observer.workers_starting(2)
    assert len(_warnings(caplog)) == 1
    multiprocess.on_starting(SimpleNamespace(master_pid=0, cfg=SimpleNamespace(workers=3)))
    assert len(_warnings(caplog)) == 2


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
async def test_the_workers_of_a_server_know_its_command(server: str, tmp_path: Path) -> None:
    command = [part.format(port=free_port()) for part in SERVERS[server]]
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    log = tmp_path / "log"
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            env={**environment, URL: "postgresql+asyncpg://"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await until(lambda: "the server has 2 worker processes" in log.read_text(), "a worker warns")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


SANIC = """
import sys
from sanic import Sanic
from context_async_sqlalchemy import setup_db

def make():
    app = Sanic("several", configure_logging=False)
    setup_db(app, [])

    @app.main_process_ready
    async def stop(app):
        app.m.terminate()

    return app

if __name__ == "__main__":
    make().run("127.0.0.1", 0, workers=int(sys.argv[1]), motd=False, access_log=False)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_sanic_says_it(workers: int, tmp_path: Path) -> None:
    program = tmp_path / "served.py"
    program.write_text(SANIC)
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    result = subprocess.run(  # noqa: S603 - the command is ours
        [sys.executable, str(program), str(workers)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment,
    )
    assert result.stderr.count("worker processes, and PROMETHEUS_MULTIPROC_DIR is not set") == workers - 1
