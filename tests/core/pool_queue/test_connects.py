"""A connect that fails or is cancelled hands its place on."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.util import await_only

from tests.core.observing.engines import select_on
from tests.core.pool_queue.places import Connects, MakeEngine, line_up, require_all_places
from tests.support.waiting import until


async def test_a_cancelled_connect_hands_its_place_on(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    connects = Connects(engine)
    connects.hold()
    first = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "the first task connects")
    second, third = await line_up(engine, 2)
    first.cancel()
    await until(lambda: connects.begun == 2, "the second task connects")
    connects.let_go()
    await asyncio.gather(second, third)
    # The third task got the connection of the second one.
    assert connects.begun == 2
    await require_all_places(engine, 1)


async def test_while_connects_fail_the_tasks_get_the_error_of_the_driver_one_after_another(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(pool_size=1, max_overflow=1)
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 8
    first = [asyncio.create_task(select_on(engine)) for _ in range(2)]
    await until(lambda: connects.running == 2, "two tasks connect")
    waiting = await line_up(engine, 6)
    connects.let_go()
    errors = await asyncio.gather(*first, *waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [ConnectionRefusedError] * 8
    assert (connects.begun, connects.most) == (8, 2)
    await require_all_places(engine, 2)


async def test_a_place_is_handed_on_until_a_connect_succeeds(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 3
    first = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "the first task connects")
    waiting = await line_up(engine, 4)
    connects.let_go()
    outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 3 + [type(None)] * 2
    await require_all_places(engine, 1)


async def test_a_checkout_cancelled_while_it_closes_a_dead_connection_hands_its_place_on(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine(pool_pre_ping=True)
    await select_on(engine)
    is_closing = asyncio.Event()
    terminate = engine.dialect.do_terminate

    def is_dead(_connection: Any) -> bool:
        return False

    def terminate_slowly(connection: Any) -> None:
        terminate(connection)
        is_closing.set()
        await_only(asyncio.sleep(10))

    monkeypatch.setattr(engine.dialect, "do_ping", is_dead)
    monkeypatch.setattr(engine.dialect, "do_terminate", terminate_slowly)
    taking = asyncio.create_task(select_on(engine))
    await is_closing.wait()
    monkeypatch.undo()
    (waiting,) = await line_up(engine, 1)
    taking.cancel()
    # The error has the traceback, whose frames have the connection.
    with pytest.raises(asyncio.CancelledError) as _kept:
        await taking
    await waiting
    await require_all_places(engine, 1)


async def test_a_reconnect_that_fails_hands_its_place_on(make_engine: MakeEngine) -> None:
    engine = await make_engine(pool_recycle=0)
    await select_on(engine)
    connects = Connects(engine)
    connects.hold()
    connects.to_refuse = 3
    recycling = asyncio.create_task(select_on(engine))
    await until(lambda: connects.running == 1, "the idle connection is replaced")
    waiting = await line_up(engine, 2)
    connects.let_go()
    outcomes = await asyncio.gather(recycling, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionRefusedError] * 3
    await require_all_places(engine, 1)
