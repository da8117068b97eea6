"""Tasks that wait while their engine is disposed of are served."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.util import await_only, greenlet_spawn

from context_async_sqlalchemy import DBConnect
from tests.core.observing.engines import select_on
from tests.core.pool_queue.places import Connects, MakeEngine, line_up, pool_of, require_all_places
from tests.support.database import Database
from tests.support.waiting import turns, until


async def test_tasks_that_wait_while_the_engine_is_disposed_of_get_the_connection_that_is_returned(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine()
    holder = await engine.connect()
    waiting = await line_up(engine, 2)
    old = pool_of(engine)
    await engine.dispose()
    assert old.checkedout() == 1
    await holder.close()
    await asyncio.gather(*waiting)
    assert old.checkedout() == 0
    await greenlet_spawn(old.dispose)
    await require_all_places(engine, 1)


async def test_tasks_that_wait_while_the_engine_is_disposed_of_get_the_place_of_a_connect_that_fails(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine()
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 3
    failing = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "a task connects")
    waiting = await line_up(engine, 2)
    old = pool_of(engine)
    await engine.dispose()
    connects.let_go()
    outcomes = await asyncio.gather(failing, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 3
    assert old.checkedout() == 0
    await require_all_places(engine, 1)


async def test_tasks_that_wait_while_the_host_is_switched_are_served(database: Database) -> None:
    url = make_url(database.url)
    connection = DBConnect.from_url(url, pool_size=1, max_overflow=0, pool_timeout=20)
    await connection.session_maker()
    old = connection.engine
    assert old is not None
    holder = await old.connect()
    waiting = await line_up(old, 2)
    switching = asyncio.create_task(connection.change_host(f"localhost:{url.port}"))
    await turns()
    await holder.close()
    await asyncio.gather(switching, *waiting)
    assert connection.engine is not old
    await connection.close()


async def test_the_place_of_an_idle_connection_that_is_disposed_of_goes_to_a_task_that_came_meanwhile(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    await select_on(engine)
    pool = pool_of(engine)
    gate, is_closing = asyncio.Event(), asyncio.Event()
    close = engine.dialect.do_close

    def close_slowly(connection: Any) -> None:
        is_closing.set()
        await_only(gate.wait())
        close(connection)

    monkeypatch.setattr(engine.dialect, "do_close", close_slowly)
    disposing = asyncio.create_task(greenlet_spawn(pool.dispose))
    await is_closing.wait()
    (waiting,) = await line_up(engine, 1)
    gate.set()
    await asyncio.gather(disposing, waiting)
    await require_all_places(engine, 1)
