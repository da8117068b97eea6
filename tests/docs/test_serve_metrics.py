"""docs/how-to/serve-metrics.md: its programs serve the metrics on a port of their own."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from context_async_sqlalchemy import DBConnect, setup_db
from tests.conformance.statements import run
from tests.support.ports import free_port
from tests.support.waiting import until_async

DOCUMENT = (Path(__file__).parents[2] / "docs/how-to/serve-metrics.md").read_text()
PORT = "9100"
ONE_PROCESS, ALL_PROCESSES = (
    code for code in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if "start_http_server" in code
)
OTHER_PROCESS = """
from prometheus_client import Counter
Counter("orders", "Orders.").inc({})
"""


async def test_an_application_serves_them_on_another_port(connection: DBConnect, aiohttp_client: AiohttpClient) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await run(connection, "SELECT 1")
        return web.Response()

    app = web.Application()
    app.router.add_get("/orders", handler)
    port = free_port()
    names: dict[str, Any] = {"app": app, "connection": connection, "setup_db": setup_db}
    exec(ONE_PROCESS.replace(PORT, str(port)), names)  # noqa: S102 - the document's code
    before = set(threading.enumerate())
    client = await aiohttp_client(app)
    assert (await client.get("/orders")).status == 200
    assert (await client.get("/metrics")).status == 404
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        metrics = await response.text()
    labels = f'db_client_connection_pool_name="{connection.name}",route="GET /orders"'
    assert f"db_session_statements_total{{{labels}}}" in metrics
    await client.close()
    assert not [thread for thread in set(threading.enumerate()) - before if "serve_forever" in thread.name]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{port}/metrics")


async def test_a_process_serves_them_for_all_processes(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for orders in (3, 4):
        command = sys.executable, "-c", OTHER_PROCESS.format(orders)
        subprocess.run(command, env=environment, check=True)  # noqa: S603, ASYNC221 - the command is ours
    command = sys.executable, "-c", ALL_PROCESSES.replace(PORT, str(port))
    with subprocess.Popen(command, env=environment) as serving:  # noqa: S603, ASYNC220 - the command is ours
        try:
            async with aiohttp.ClientSession() as client:

                async def shows_all() -> bool:
                    try:
                        async with client.get(f"http://127.0.0.1:{port}/metrics") as response:
                            return "orders_total 7.0" in await response.text()
                    except aiohttp.ClientConnectorError:
                        return False

                await until_async(shows_all, "the counts of both processes are served")
        finally:
            serving.kill()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".db")] == ["counter_ended.db"]  # noqa: PTH208 - short
