"""Serving with aiohttp: the measured application, and the one that controls, each at a port of its own."""

import asyncio
import os
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from tools.benchmarks.servers.common import FIRST, SECOND, tell_ready


async def nothing(_request: web.Request) -> web.Response:
    """Answer without the database."""
    return web.Response(text="nothing")


def by_hand(engine: AsyncEngine, *middlewares: Middleware) -> web.Application:
    """Serve with the transaction written out in the handler, inside of middlewares."""
    maker = async_sessionmaker(engine, expire_on_commit=False)

    async def two_selects(_request: web.Request) -> web.Response:
        async with maker() as session, session.begin():
            first = (await session.execute(FIRST)).one()
            second = (await session.execute(SECOND)).one()
        return web.json_response([first.name, second.name])

    async def dispose(_app: web.Application) -> None:
        await engine.dispose()

    app = web.Application(middlewares=middlewares)
    app.router.add_get("/two-selects", two_selects)
    app.on_cleanup.append(dispose)
    return app


async def _cpu_time(_request: web.Request) -> web.Response:
    """Answer with the CPU time of this process in nanoseconds."""
    return web.Response(text=str(time.process_time_ns()))


def control() -> web.Application:
    """Serve what the measuring side asks for."""
    app = web.Application()
    app.router.add_get("/cpu-time", _cpu_time)
    return app


def serve(
    name: str, make: Callable[[], web.Application], make_control: Callable[[], web.Application] = control
) -> None:
    """Serve until the input ends.

    Args:
        name: of the measured application.
        make: makes it, within the loop.
        make_control: makes the application that controls.

    """
    asyncio.run(_serve({"control": make_control, name: make}))


async def _serve(applications: dict[str, Callable[[], web.Application]]) -> None:
    runners: dict[str, web.AppRunner] = {}
    for name, make in applications.items():
        runner = web.AppRunner(make(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners[name] = runner
    tell_ready({name: runner.addresses[0][1] for name, runner in runners.items()})
    await _until_input_ends()
    for runner in runners.values():
        await runner.cleanup()


async def _until_input_ends() -> None:
    """Serve until the measuring side goes away."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(0, lambda: ended.set() if not os.read(0, 1) else None)
    await ended.wait()
