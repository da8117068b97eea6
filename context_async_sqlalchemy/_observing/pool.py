"""One engine's pool while it is observed: its open checkouts, and everything that happens to its connections.

:mod:`~.pool_hooks` and :mod:`~.dialect_hooks` call it; :mod:`~.probe` puts them on the engine.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, cast

from sqlalchemy.engine import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool

from context_async_sqlalchemy._context.context import Context
from context_async_sqlalchemy._context.current import context_or_none
from context_async_sqlalchemy._runtime.places import task_or_none
from context_async_sqlalchemy.exceptions import PoolOverloadedError
from context_async_sqlalchemy.observer import (
    CheckoutPath,
    FailedCheckout,
    LiveWait,
    NestedCheckout,
    PoolLook,
    PoolPeaks,
    PoolReading,
    WaitFailure,
)

from .causes import release_cause
from .exhaustion import exhaustion_note
from .leaks import LeakWatch
from .listeners import Listeners, notify
from .look import engine_beside, look_at
from .open_checkout import OpenCheckout
from .open_context_record import OpenContextRecord
from .peaks import Peaks
from .pool_state import read_pool

logger = logging.getLogger("context_async_sqlalchemy")

_NANOSECOND = 1e-9

_IS_NEW = "_context_async_sqlalchemy_is_new"
"""The key that marks the pool's record of a connection which was made, and not checked out yet."""


class WatchedPool:
    """The pool of one engine; observers get it as an :class:`~context_async_sqlalchemy.observer.ObservedPool`.

    Args:
        engine: the engine; it may be the application's own.
        name: the name of the pool in metrics, spans and warnings.
        listeners: the methods of observers that are called.
        unhook: takes the hooks off the engine. It is called after :meth:`remove`, once no connection is out.

    """

    def __init__(self, engine: Engine, name: str, listeners: Listeners, unhook: Callable[[], None]) -> None:
        self.name = name
        self.listeners = listeners
        self.server_address: str | None = engine.url.host
        self.server_port: int | None = engine.url.port
        self.database: str | None = engine.url.database
        self.system: str = engine.dialect.name
        # The key is the pool's record of the connection, which does not keep the application's objects alive.
        self.open: dict[object, OpenCheckout] = {}
        self.waits: set[LiveWait] = set()
        self.highest = Peaks()
        self.is_installed = True
        # Whether another engine is in use now. Sessions in flight may still use this one, so its pool is observed.
        self.is_replaced = False
        # Whether the hook has to call `when_left`, because the pool was removed or replaced.
        self.is_draining = False
        self._is_forgotten = False
        self._engine = engine
        self._unhook = unhook
        self._leaks = LeakWatch(self.all_open, listeners)
        self._nested_routes: set[str] = set()
        self._has_failed = False

    def set_listeners(self, listeners: Listeners) -> None:
        """Call other methods from now on."""
        self.listeners = self._leaks.listeners = listeners

    def remove(self) -> None:
        """Observe no new checkouts; those that are open are observed to their end."""
        if not self.is_installed:
            return
        self.is_installed = False
        self.is_draining = True
        self.when_left()
        self._tell_forgotten()

    def replaced(self) -> None:
        """Record that another engine is in use now: observers forget the pool once no connection of it is out."""
        self.is_replaced = True
        self.is_draining = True
        self.when_left()

    def when_left(self) -> None:
        """Finish a removal or a replacement, if no connection is out any more."""
        if self.open:
            return
        if self.is_installed:
            self._tell_forgotten()
        else:
            self._unhook()

    def _tell_forgotten(self) -> None:
        if not self._is_forgotten:
            self._is_forgotten = True
            notify(self.listeners.pool_forgotten, self)

    def read(self) -> PoolReading:
        """Return the state of the pool now."""
        used = len(self.all_open())
        if self.is_replaced:
            # Connections that come back are closed, and only sessions in flight may check out another one.
            return PoolReading(used, 0, len(self.waits), used, 0)
        return read_pool(self._engine.pool, used, len(self.waits))

    def peaks(self) -> PoolPeaks:
        """Return the highest numbers of connections in use and of waits since the last scrapes."""
        return self.highest.read(len(self.all_open()), len(self.waits))

    def look(self) -> PoolLook:
        """Return the connections that are out now, and the waits."""
        return look_at(self._engine, self.open, self.waits)

    def engine_beside(self) -> AsyncEngine:
        """Return a new engine that connects as the pool does, without a pool."""
        return engine_beside(self._engine)

    def wait_began(self, record: "OpenContextRecord | None") -> LiveWait:
        """Register a checkout that waits for the return of a connection."""
        wait = LiveWait(record, perf_counter_ns(), task_or_none())
        self.waits.add(wait)
        self.highest.pending = max(self.highest.pending, len(self.waits))
        return wait

    def checkout_started(self, *, must_wait: bool) -> OpenContextRecord | None:
        """Return the record of the context in which a checkout begins, or None outside of any context."""
        context = context_or_none()
        if context is None:
            return None
        # A context knows only the protocol of its record.
        record = cast("OpenContextRecord | None", context.record)
        if record is None and not context.has_ended:
            record = context.record = OpenContextRecord(context, self.listeners, perf_counter_ns())
            notify(self.listeners.context_began, record)
        if must_wait and record is not None:
            self._look_for_nesting(context, record)
        return record

    def checkout_succeeded(
        self, fairy: Any, record: OpenContextRecord | None, asked_at: int, *, must_wait: bool
    ) -> None:
        """Open the record of a checkout that has succeeded."""
        taken_at = perf_counter_ns()
        entry = fairy._connection_record  # noqa: SLF001 - the public way is slower
        path: CheckoutPath = "queued" if must_wait else "idle"
        if entry.record_info.pop(_IS_NEW, False) and not must_wait:
            path = "new"
        checkout = OpenCheckout(
            self, record, asked_at, taken_at, path=path, transactions=[], previous=self.open.get(entry)
        )
        self.open[entry] = checkout
        self.highest.used = max(self.highest.used, len(self.open))
        if record is not None:
            record.checkout_began(self, taken_at)
        if self.listeners.leak_threshold is not None:
            self._leaks.watch(checkout, self.listeners.leak_threshold)
        notify(self.listeners.checkout_began, checkout)

    def checkout_failed(
        self, pool: Pool, record: OpenContextRecord | None, asked_at: int, error: BaseException
    ) -> None:
        """Tell the observers that a checkout has failed; name the holders of an exhausted pool in a note."""
        failure: WaitFailure = "error"
        ended_at = perf_counter_ns()
        if isinstance(error, PoolTimeoutError):
            failure = "shed" if isinstance(error, PoolOverloadedError) else "timeout"
            limits = (
                f"pool size {pool.size()}, overflow {pool.overflow()}" if isinstance(pool, QueuePool) else pool.status()
            )
            error.add_note(exhaustion_note(self, self.all_open(), (ended_at - asked_at) * _NANOSECOND, limits))
        elif isinstance(error, asyncio.CancelledError):
            failure = "cancelled"
        failed = FailedCheckout(self, record, asked_at, ended_at, failure, error)
        if record is not None:
            record.checkout_failed(failed)
        notify(self.listeners.checkout_failed, failed)

    def checkout_ended(self, checkout: OpenCheckout) -> OpenCheckout | None:
        """Complete the record of a returned or lost connection; return the checkout that ends with it."""
        checkout.returned()
        record = cast("OpenContextRecord | None", checkout.context)
        checkout.released_by, checkout.is_early = release_cause(checkout, None if record is None else record.context)
        if record is not None:
            record.checkout_ended(checkout)
        if checkout.task is not None:
            self._leaks.returned(checkout)
        notify(self.listeners.checkout_ended, checkout)
        if record is not None and record.keeps_history:
            notify(self.listeners.kept_checkout_ended, checkout)
        previous, checkout.previous = checkout.previous, None
        return previous

    def all_open(self) -> list[OpenCheckout]:
        """Return the checkouts of all connections that are out."""
        every = list(self.open.values())
        shared = [checkout for checkout in every if checkout.previous is not None]
        for checkout in shared:
            before = checkout.previous
            while before is not None:
                every.append(before)
                before = before.previous
        return every

    def log_failure(self, error: Exception) -> None:
        """Log the first failure of the observing code itself; the application goes on."""
        if not self._has_failed:
            self._has_failed = True
            logger.error("pool %r could not be observed; this is said once", self.name, exc_info=error)

    def connected(self, _dbapi_connection: object, entry: Any) -> None:
        """Mark a connection that SQLAlchemy has made as new; tell the observers how long the making took."""
        try:
            entry.record_info[_IS_NEW] = True
            if self.listeners.connected:
                # The wall clock, because with `async_creator` only the pool's record has the beginning.
                notify(self.listeners.connected, self, max(time.time() - entry.last_connect_time, 0.0))
        except Exception as error:  # noqa: BLE001 - logged; SQLAlchemy loses the connection if a listener raises
            self.log_failure(error)

    def invalidated(self, _dbapi_connection: object, entry: Any, error: BaseException | None) -> None:
        """Mark the checkout of a connection that SQLAlchemy throws away; tell the observers."""
        try:
            checkout = self.open.get(entry)
            if checkout is not None:
                checkout.is_invalidated = True
                checkout.error = error or checkout.error
            notify(self.listeners.connection_invalidated, self)
        except Exception as failure:  # noqa: BLE001 - as above
            self.log_failure(failure)

    def _look_for_nesting(self, context: Context, record: OpenContextRecord) -> None:
        # Those of them that hold a connection, of any pool. There is none as a rule, so that no checkout is looked at.
        around: set[int] = set()
        each: Context | None = context
        while each is not None:
            known: Any = each.record
            if known is not None and known.held and each.is_open:
                around.add(id(known))
            each = each.parent
        if not around or not any(id(checkout.context) in around for checkout in self.all_open()):
            return
        if record.route not in self._nested_routes:
            self._nested_routes.add(record.route)
            logger.warning(
                "pool %r: %s waits for a connection while it holds one of the same pool, and the pool has no other "
                "left: as many of these at once as the pool has connections wait for each other until the time-out. "
                "Give the first one back (await commit_db_session(connection)) before run_in_new_ctx, db_context or a "
                "session of your own needs a second, or do all on one session. This is said once for each route",
                self.name,
                record.route,
            )
        if self.listeners.nested_checkout:
            notify(self.listeners.nested_checkout, NestedCheckout(self, record))
