"""Installing the probe and removing it: what it finds there stays as it is."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool
from sqlalchemy.util import greenlet_spawn

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy._observing.pool_hooks import watched_pool_of
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.core.observing.engines import SELECT, around, engine_of, select_on
from tests.support.connections import connect_to
from tests.support.database import Database
from tests.support.recorder import Recorder


def _hooks_in(engine: AsyncEngine) -> set[str]:
    hooks = {name for name in vars(engine.dialect) if name.startswith("do_")}
    if watched_pool_of(engine.sync_engine) is not None:
        hooks.add("pool class")
    return hooks


async def test_without_observers_nothing_is_installed(database: Database) -> None:
    connection = connect_to(database.url)
    lifecycle = Lifecycle([connection], observers=())
    engine = await engine_of(connection)
    assert _hooks_in(engine) == set()
    await lifecycle.shut_down()


async def test_no_event_of_connections_is_used(observed: DBConnect) -> None:
    # One is enough to make every transaction 12 % dearer, for ever.
    engine = await engine_of(observed)
    assert not engine.sync_engine._has_events  # pyright: ignore[reportPrivateUsage]
    # The dialect's only listener hears of errors.
    assert not engine.dialect.dispatch.do_execute


async def test_what_was_installed_is_removed_at_the_shutdown(database: Database) -> None:
    engine = create_async_engine(database.url)
    before = dict(vars(engine.dialect))
    recorder = Recorder()
    connection = around(engine)
    lifecycle = Lifecycle([connection], observers=[recorder])
    await connection.session_maker()
    assert watched_pool_of(engine.sync_engine) is not None
    assert isinstance(engine.sync_engine.pool, AsyncAdaptedQueuePool)
    assert type(engine.sync_engine.pool).__name__ == "AsyncAdaptedQueuePool"
    await lifecycle.shut_down()
    assert watched_pool_of(engine.sync_engine) is None
    assert {name for name in vars(engine.dialect) if name not in before and name.startswith("do_")} == set()
    await select_on(engine)
    assert recorder.checkouts == []
    assert recorder.pools == recorder.forgotten
    await engine.dispose()


async def test_who_has_wrapped_a_method_since_keeps_working(database: Database) -> None:
    engine = create_async_engine(database.url)
    recorder = Recorder()
    connection = around(engine)
    lifecycle = Lifecycle([connection], observers=[recorder])
    await connection.session_maker()
    seen: list[str] = []
    ours = engine.dialect.do_execute
    our_class = type(engine.sync_engine.pool)

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        seen.append(statement)
        ours(cursor, statement, parameters, context)

    class Theirs(our_class):  # type: ignore[valid-type, misc]
        def connect(self) -> Any:
            seen.append("connect")
            return super().connect()

    engine.dialect.do_execute = do_execute  # type: ignore[method-assign]
    engine.sync_engine.pool.__class__ = Theirs
    await select_on(engine)
    assert len(recorder.checkouts) == 1
    await lifecycle.shut_down()
    seen.clear()
    await select_on(engine)
    assert seen == ["connect", "SELECT 1"]
    assert len(recorder.checkouts) == 1
    # And observed again, each statement counts once.
    again = Lifecycle([connection], observers=[recorder])
    await connection.session_maker()
    await select_on(engine)
    assert [checkout.statements for checkout in recorder.checkouts] == [1, 1]
    await again.shut_down()
    await engine.dispose()


async def test_who_had_wrapped_a_method_before_has_it_back(database: Database) -> None:
    engine = create_async_engine(database.url)
    original = engine.dialect.do_commit

    def do_commit(connection: Any) -> None:
        original(connection)

    engine.dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]
    connection = around(engine)
    lifecycle = Lifecycle([connection], observers=[Recorder()])
    await connection.session_maker()
    assert engine.dialect.do_commit is not do_commit
    await lifecycle.shut_down()
    assert engine.dialect.do_commit is do_commit
    await engine.dispose()


async def test_a_pool_in_use_when_the_probe_comes_and_goes(database: Database) -> None:
    engine = create_async_engine(database.url)
    recorder = Recorder()
    connection = around(engine)
    await connection.session_maker()
    async with engine.connect() as early:
        await early.execute(SELECT)
        lifecycle = Lifecycle([connection], observers=[recorder])
        await early.execute(SELECT)
        await early.commit()
    assert recorder.checkouts == []
    async with engine.connect() as late:
        await late.execute(SELECT)
        await lifecycle.shut_down()
        await late.execute(SELECT)
        await late.commit()
    assert (recorder.statements, recorder.transactions) == (2, ["commit"])
    assert _hooks_in(engine) == set()
    await engine.dispose()


async def test_two_applications_share_a_connection(database: Database) -> None:
    connection = connect_to(database.url)
    shared, one, other = Recorder(), Recorder(), Recorder()
    first = Lifecycle([connection], observers=[shared, one])
    await select_on(await engine_of(connection))
    second = Lifecycle([connection], observers=[shared, other])
    await select_on(await engine_of(connection))
    assert [len(each.checkouts) for each in (shared, one, other)] == [2, 2, 1]
    assert [len(each.pools) for each in (shared, one, other)] == [1, 1, 1]
    connection.observe_no_more(first.observation)
    assert [len(each.forgotten) for each in (shared, one, other)] == [0, 1, 0]
    await select_on(await engine_of(connection))
    assert [len(each.checkouts) for each in (shared, one, other)] == [3, 2, 2]
    await first.shut_down()
    await select_on(await engine_of(connection))
    assert [len(each.checkouts) for each in (shared, one, other)] == [4, 2, 3]
    await second.shut_down()


async def test_an_application_that_starts_again_observes_again(database: Database) -> None:
    connection, recorder = connect_to(database.url), Recorder()
    lifecycle = Lifecycle([connection], observers=[recorder])
    await select_on(await engine_of(connection))
    await lifecycle.shut_down()
    await select_on(await engine_of(connection))
    assert len(recorder.checkouts) == 1
    lifecycle.start_observing()
    await select_on(await engine_of(connection))
    assert len(recorder.checkouts) == 2
    await lifecycle.shut_down()
    assert recorder.forgotten == recorder.pools


async def test_an_engine_that_is_used_again_while_a_checkout_is_open_counts_it_too(database: Database) -> None:
    engine = create_async_engine(database.url)
    connection, recorder = around(engine), Recorder()
    lifecycle = Lifecycle([connection], observers=[recorder])
    await connection.session_maker()
    old_pool = engine.sync_engine.pool
    async with engine.connect() as in_flight:
        await connection.close()
        await connection.session_maker()
        await select_on(engine)
        await in_flight.execute(SELECT)
        assert [pool.read().used for pool in recorder.pools] == [1, 0]
    assert [checkout.statements for checkout in recorder.checkouts] == [1, 1]
    assert [pool.read().used for pool in recorder.pools] == [0, 0]
    await greenlet_spawn(old_pool.dispose)
    await lifecycle.shut_down()


async def test_an_engine_that_cannot_be_observed_is_used_as_it_is(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slotted(AsyncAdaptedQueuePool):
        __slots__ = ("more",)

    engine = create_async_engine(database.url)

    def of_another_layout(*_: object) -> type[Pool]:
        return Slotted

    monkeypatch.setattr("context_async_sqlalchemy._observing.pool_hooks.observed_class", of_another_layout)
    connection, recorder = around(engine), Recorder()
    lifecycle = Lifecycle([connection], observers=[recorder])
    await connection.session_maker()
    await select_on(engine)
    assert recorder.pools == []
    assert "cannot be observed" in caplog.text
    await lifecycle.shut_down()


async def test_one_engine_of_two_connections_is_observed_once(database: Database) -> None:
    engine = create_async_engine(database.url)
    recorder = Recorder()
    lifecycle = Lifecycle([around(engine, "one"), around(engine, "two")], observers=[recorder])
    for connection in lifecycle.connections:
        await connection.session_maker()
    await select_on(engine)
    assert [checkout.pool.name for checkout in recorder.checkouts] == ["one"]
    await lifecycle.shut_down()
