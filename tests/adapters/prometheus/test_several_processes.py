"""Two real workers behind one port: whichever is scraped answers for both."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.adapters.prometheus.served import POOL_SIZE, URL
from tests.support.database import Database
from tests.support.waiting import until_async

SERVERS = {
    "gunicorn": (
        *("gunicorn", "tests.adapters.prometheus.served:make_aiohttp_app", "--bind=127.0.0.1:{port}", "--workers=2"),
        *("--worker-class=aiohttp.GunicornWebWorker", "--config=tests/adapters/prometheus/gunicorn_conf.py"),
        *("--no-control-socket", "--graceful-timeout=1"),
    ),
    "uvicorn": (
        *(
            "uvicorn",
            "tests.adapters.prometheus.served:make_asgi_app",
            "--factory",
            "--host=127.0.0.1",
            "--port={port}",
        ),
        *("--workers=2", "--no-access-log", "--log-level=warning"),
    ),
    "sanic": (
        *("sanic", "tests.adapters.prometheus.served:make_sanic_app", "--factory", "--host=127.0.0.1", "--port={port}"),
        *("--workers=2", "--no-motd", "--no-access-logs"),
    ),
}
USED = 'db_client_connection_count{db_client_connection_pool_name="main",db_client_connection_state="used"}'
ROUTES = {"gunicorn": "GET /work/{what}", "uvicorn": "GET /work/{what}", "sanic": "GET /work/<what:str>"}
MAX = 'db_client_connection_max{db_client_connection_pool_name="main"}'
SHARE = 'db_session_pool_utilization_ratio{db_client_connection_pool_name="main"}'
USED_PEAK = 'db_session_pool_used_peak{db_client_connection_pool_name="main"}'
STATEMENTS = 'db_session_statements_total{{db_client_connection_pool_name="main",route="{}"}}'

Worker = aiohttp.ClientSession
"""A client whose one connection is kept alive, and so ends in one worker."""


@asynccontextmanager
async def _serving(server: str, directory: Path, database: Database) -> AsyncGenerator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(port=port) for part in SERVERS[server]]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), URL: database.url},
        start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        # All of them, and hard: Sanic's main process may fail at a SIGTERM (see sanic_adapter/test_served.py).
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _one_of_each(url: str, stack: AsyncExitStack, count: int = 2) -> dict[int, Worker]:
    """Connect until every worker has been met."""
    workers: dict[int, Worker] = {}

    async def all_met() -> bool:
        client = await stack.enter_async_context(
            aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=60))
        )
        try:
            process_id = await _work(client, held=0)
        except aiohttp.ClientConnectionError:
            return False
        workers.setdefault(process_id, client)
        return len(workers) == count

    await until_async(all_met, f"{count} workers have answered")
    return workers


async def _work(worker: Worker, held: int) -> int:
    async with worker.get("/work/hard", params={"held": held}) as response:
        assert response.status == 200
        return int(await response.text())


async def _scrape(worker: Worker) -> dict[str, float]:
    async with worker.get("/metrics") as response:
        assert response.status == 200
        lines = (await response.text()).splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {series: float(value) for series, _, value in samples}


@pytest.mark.parametrize("server", SERVERS)
async def test_whichever_worker_is_scraped_answers_for_all(server: str, database: Database, tmp_path: Path) -> None:
    left_behind = tmp_path / "counter_1.db"
    if server != "uvicorn":  # which tells nobody that it starts: its files are deleted by whoever starts it
        left_behind.write_bytes(b"of an earlier run")
    statements = STATEMENTS.format(ROUTES[server])
    async with _serving(server, tmp_path, database) as url, AsyncExitStack() as stack:
        workers = await _one_of_each(url, stack)
        assert not left_behind.exists()
        (one_id, one), (other_id, other) = workers.items()
        before = await _scrape(one)
        assert before[MAX] == 2 * POOL_SIZE
        await _work(one, held=3)
        await _work(other, held=4)

        async def is_seen_from_outside() -> bool:
            return (await _scrape(one))[USED] == 7

        await until_async(is_seen_from_outside, "one worker answers for the other, which is not scraped")
        seen = await _scrape(one)
        assert await _scrape(other) == seen
        # Of the worker that has more of its connections in use. The request that took the four had one for itself.
        assert (seen[SHARE], seen[USED_PEAK]) == (4 / POOL_SIZE, 4 + 1)
        assert seen[statements] == before[statements] + 2

        # A worker that is killed takes its connections along; what it did has been done.
        os.kill(other_id, signal.SIGKILL)

        async def uses_connections_alone() -> bool:
            return (await _scrape(one))[USED] == 3

        await until_async(uses_connections_alone, f"only {one_id} uses connections")
        alone = await _scrape(one)
        assert alone[statements] == seen[statements]
        assert (alone[SHARE], alone[USED_PEAK]) == (3 / POOL_SIZE, 3 + 1)
