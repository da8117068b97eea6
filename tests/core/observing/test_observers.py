"""Who is told: the observers that are given, or installed; and what happens to those that fail."""

import asyncio
import logging
from collections.abc import Callable, Sized
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from context_async_sqlalchemy import (
    ContextClosedError,
    Retry,
    commit_db_session,
    db_context,
    run_in_new_ctx,
    setup_db,
)
from context_async_sqlalchemy._observing.listeners import Listeners, Observation
from context_async_sqlalchemy._plugins import OBSERVERS
from context_async_sqlalchemy.adapter_kit import Lifecycle, current_context, observe_process
from context_async_sqlalchemy.observer import Checkout, ContextRecord, Observer
from context_async_sqlalchemy_aiohttp import LIFECYCLE
from tests.conformance.statements import run
from tests.support.connections import connect_to, in_use
from tests.support.database import CONFLICT, Database
from tests.support.recorder import Recorder
from tests.support.waiting import until

CALLBACKS = [
    name
    for name, member in vars(Observer).items()
    # `setup_db` asks for the resources, and raises if there is something wrong with them.
    if callable(member) and not name.startswith("_") and name != "resources"
]


class _BreaksAlways(Observer):
    pass


def _breaking(name: str) -> Any:
    def broken(_self: Observer, *_args: object) -> None:
        raise RuntimeError(f"{name} is broken")

    broken.__name__ = name
    return broken


for _name in CALLBACKS:
    setattr(_BreaksAlways, _name, _breaking(_name))


def _one_more(told: Sized) -> Callable[[], bool]:
    wanted = len(told) + 1
    return lambda: len(told) == wanted


async def test_an_observer_that_always_fails_harms_nothing_and_is_logged_once_for_each_method(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect_to(database.url, pool_size=1)
    recorder, breaks = Recorder(), _BreaksAlways()
    lifecycle = Lifecycle([connection], observers=[breaks, recorder], leak_threshold=0.1)
    stop = observe_process(breaks)
    for _ in range(2):
        lifecycle.announce_workers(2)
        await lifecycle.start()
        # Counted before the checkout, because on a slow machine the suspicion may come before the wait for it.
        is_suspected = _one_more(recorder.suspected)
        async with db_context():
            context = current_context()
            await run(connection, "SELECT 1")
            inner = asyncio.create_task(run_in_new_ctx(run, connection, "SELECT 1"))
            await until(_one_more(recorder.nested), "it waits")
            inner.cancel()
            with pytest.raises(asyncio.CancelledError):
                await inner
            await until(is_suspected, "a leak is suspected")
            await commit_db_session(connection)
            assert connection.engine is not None
            async with connection.engine.connect() as raw:
                await raw.execute(text("SELECT 1"))
                await raw.invalidate()
        with pytest.raises(ContextClosedError):
            context.require_open()
        with pytest.raises(DBAPIError, match="conflict"):
            await run_in_new_ctx(run, connection, CONFLICT, retry=Retry(attempts=2, base_delay=0))
        assert in_use(connection) == 0
        await connection.close()
    stop()
    await lifecycle.shut_down()
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert sorted(str(record.exc_info and record.exc_info[1]) for record in logged) == sorted(
        f"{name} is broken" for name in CALLBACKS
    )
    assert all(f"failed in {name}" in caplog.text for name in CALLBACKS)


async def test_a_failing_observer_does_not_keep_the_others_from_hearing(database: Database) -> None:
    connection = connect_to(database.url)
    recorder = Recorder()
    lifecycle = Lifecycle([connection], observers=[_BreaksAlways(), recorder])
    async with db_context():
        await run(connection, "SELECT 1")
    assert len(recorder.checkouts) == len(recorder.contexts) == 1
    await lifecycle.shut_down()


async def test_an_interruption_in_an_observer_loses_no_place_in_the_pool(database: Database) -> None:
    class Interrupts(Observer):
        def checkout_ended(self, checkout: object) -> None:  # noqa: ARG002
            raise asyncio.CancelledError

    connection = connect_to(database.url, pool_size=1)
    lifecycle = Lifecycle([connection], observers=[Interrupts()])
    for _ in range(2):
        # Nobody has cancelled this task.
        with pytest.raises(RuntimeError, match="nobody cancelled its caller"):
            async with db_context():
                await run(connection, "SELECT 1")
        assert in_use(connection) == 0
    await lifecycle.shut_down()


class _ChoosesContexts(Observer):
    """Keeps one context, and hears of no other."""

    hears_of_kept_only = True

    def __init__(self) -> None:
        self.heard: list[tuple[str, ContextRecord | None]] = []
        self.kept: ContextRecord | None = None

    def context_began(self, context: ContextRecord) -> None:
        if self.kept is None:
            self.kept = context
            context.keeps_history = True

    def checkout_ended(self, checkout: Checkout) -> None:
        self.heard.append(("checkout", checkout.context))

    def context_ended(self, context: ContextRecord) -> None:
        self.heard.append(("context", context))


async def test_an_observer_may_hear_of_those_contexts_alone_that_it_keeps(database: Database) -> None:
    connection = connect_to(database.url)
    chooses, recorder = _ChoosesContexts(), Recorder()
    lifecycle = Lifecycle([connection], observers=[chooses, recorder])
    for _ in range(2):
        async with db_context():
            await run(connection, "SELECT 1")
    assert chooses.heard == [("checkout", chooses.kept), ("context", chooses.kept)]
    assert len(recorder.checkouts) == len(recorder.contexts) == 2
    await lifecycle.shut_down()


def test_nothing_is_made_for_a_method_that_nobody_has() -> None:
    class HearsOfCheckouts(Observer):
        def checkout_ended(self, checkout: object) -> None:
            """Do nothing."""

    listeners = Listeners([Observation((HearsOfCheckouts(),))])
    assert listeners.checkout_ended
    assert all(not getattr(listeners, name, None) for name in CALLBACKS if name != "checkout_ended")


def _entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, OBSERVERS)


class _Installed(Recorder):
    pass


def make_installed() -> Observer:
    """Stand in for what a package offers."""
    return _Installed()


def test_the_installed_observers_are_the_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "context_async_sqlalchemy")
    installed = [
        _entry_point("here", f"{__name__}:make_installed"),
        _entry_point("extra not installed", "not_installed_package:default_observer"),
    ]

    def entry_points(group: str) -> list[EntryPoint]:
        assert group == OBSERVERS
        return installed

    monkeypatch.setattr("context_async_sqlalchemy._plugins.entry_points", entry_points)
    (observer,) = Lifecycle().observers
    assert isinstance(observer, _Installed)
    assert "'extra not installed' is left out" in caplog.text
    assert Lifecycle(observers=()).observers == ()


async def test_an_installed_observer_is_one_for_all_applications_of_the_process(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry_points(group: str) -> list[EntryPoint]:
        return [_entry_point("here", f"{__name__}:make_installed")] if group == OBSERVERS else []

    monkeypatch.setattr("context_async_sqlalchemy._plugins.entry_points", entry_points)
    connection = connect_to(database.url)
    first, *others = [Lifecycle([connection]) for _ in range(200)]
    (observer,) = first.observers
    assert isinstance(observer, _Installed)
    assert all(other.observers == (observer,) for other in others)

    async def seen() -> int:
        before = len(observer.checkouts)
        async with db_context():
            await run(connection, "SELECT 1")
        return len(observer.checkouts) - before

    assert await seen() == 1
    await first.shut_down()
    assert await seen() == 1
    first.start_observing()
    assert await seen() == 1
    for lifecycle in (first, *others):
        await lifecycle.shut_down()
    assert await seen() == 0
    assert observer.forgotten == observer.pools
    assert len(observer.pools) == 2
    first.start_observing()
    assert await seen() == 1
    await first.shut_down()
    assert observer.forgotten == observer.pools
    await connection.close()


def test_setup_db_passes_the_observers_on() -> None:
    app, recorder = web.Application(), Recorder()
    setup_db(app, [], observers=[recorder])
    assert app[LIFECYCLE].observers == (recorder,)


@pytest.mark.parametrize("wrong", [object(), Recorder])
def test_an_observer_is_an_instance_of_observer(wrong: object) -> None:
    with pytest.raises(TypeError, match="takes instances of"):
        setup_db(web.Application(), [], observers=[wrong])  # type: ignore[list-item]
