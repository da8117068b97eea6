"""Requests to an aiohttp application: clients that hang up, a switch of the host, a shutdown."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.proof.simulation.scenarios.application import Application, Setup, set_up
from tests.proof.simulation.world import World

_NAMES = "abcd"
_SPREAD = 0.02


async def requests(world: World) -> None:
    """Send three or four requests to an application with a small pool."""
    await serve(world, set_up)


async def serve(world: World, set_up: Setup, **engine_options: Any) -> None:
    """Send requests to an application that ends its units in a given way, and check what is left."""
    pool_timeout = world.choices.choose((30.0, 30.0, 0.05))
    pool_size = world.choices.choose((1, 2))
    connection = world.connect(world.serve(), pool_size=pool_size, pool_timeout=pool_timeout, **engine_options)
    application = Application(world, connection, set_up)
    await application.start()
    await _send(world, application, is_impatient=pool_timeout < 1)
    await world.check_after(connection)
    application.check_ended()
    await application.stop()
    await world.check_closed()


async def hosts(world: World) -> None:
    """Switch to another host while requests are in flight; perhaps the old one is silent from then on."""
    old, new = world.serve("old"), world.serve("new")
    connection = world.connect(old, pool_size=world.choices.choose((1, 2)), pool_timeout=30.0)
    application = Application(world, connection)
    await application.start()

    async def switch() -> None:
        await asyncio.sleep(world.choices.number(200) * _SPREAD / 200)
        await connection.change_host(f"{new.host}:5432")

    await _send(world, application, switch)
    await world.check_after(connection)
    application.check_ended()
    if old.backends:
        world.violate("a connection to the host before is open", str([*old.backends]))
    await application.stop()
    await world.check_closed()


async def shutdown(world: World) -> None:
    """Stop the application while requests are in flight."""
    connection = world.connect(world.serve(), pool_size=world.choices.choose((1, 2)), pool_timeout=30.0)
    application = Application(world, connection)
    await application.start()

    async def stop() -> None:
        await asyncio.sleep(world.choices.number(200) * _SPREAD / 200)
        await application.stop()

    await _send(world, application, stop)
    application.check_ended()
    await world.check_closed()
    world.ledger.check()
    world.check_observed()


async def _send(
    world: World,
    application: Application,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
    *,
    is_impatient: bool = False,
) -> None:
    world.faults.budget = world.choices.choose((0, 0, 1, 2))
    may_fail = is_impatient or world.faults.budget > 0

    async def client(name: str) -> None:
        await asyncio.sleep(world.choices.choose((0.0, 0.000_5, 0.003, _SPREAD)))
        await application.request(name, may_fail=may_fail)

    actors = [client(name) for name in _NAMES[: world.choices.choose((3, 4))]]
    await asyncio.gather(*actors, *([meanwhile()] if meanwhile else []))
