"""Servers with two workers, in processes of their own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.adapters.inspector.looking import visiting
from tests.adapters.inspector.served import URL
from tests.support.ports import free_port

SERVERS = {
    "gunicorn": (
        *("gunicorn", "tests.adapters.inspector.served:make_aiohttp_app", "--bind=127.0.0.1:{port}", "--workers=2"),
        *("--worker-class=aiohttp.GunicornWebWorker", "--no-control-socket", "--graceful-timeout=1"),
    ),
    "sanic": (
        *("sanic", "tests.adapters.inspector.served:make_sanic_app", "--factory", "--host=127.0.0.1", "--port={port}"),
        *("--workers=2", "--no-motd", "--no-access-logs"),
    ),
}


@asynccontextmanager
async def serving_workers(server: str, log: Path, url: str) -> AsyncGenerator[int]:
    """Serve an inspected application with two workers, and return the port.

    Args:
        server: one of SERVERS.
        log: where the server logs.
        url: of the database.

    """
    port = free_port()
    command = [part.format(port=port) for part in SERVERS[server]]
    environment = {**os.environ, URL: url}
    environment.pop("CONTEXT_ASYNC_SQLALCHEMY_INSPECTOR_TOKEN", None)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command), env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def token_in(log: Path) -> str:
    """Return the token that a server has logged, or nothing."""
    return log.read_text().partition("/_db?token=")[2].partition(":")[0]


async def states_at(port: int, log: Path) -> list[Any]:
    """Return the states that one of the workers shows; none before the server is up.

    Each call has a connection of its own, so that any worker may answer it.
    """
    await asyncio.sleep(0.05)
    async with visiting(port) as visitor:
        try:
            await visitor.get(f"/log-in?token={token_in(log)}")
            _, _, body = await visitor.get("/state.json")
        except aiohttp.ClientConnectionError:
            return []
    return json.loads(body)["workers"] if body.startswith(b"{") else []
