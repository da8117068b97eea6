"""Watches one engine's pool and dialect, and fills the records of :mod:`~context_async_sqlalchemy.observer`.

The hooks that call it are in :mod:`~.pool_hooks` and :mod:`~.dialect_hooks`.
"""

import asyncio
import logging
import time
from time import perf_counter_ns
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import Pool, QueuePool

from context_async_sqlalchemy._context.context import Context
from context_async_sqlalchemy._context.current import context_or_none, current
from context_async_sqlalchemy.observer import (
    CheckoutPath,
    FailedCheckout,
    NestedCheckout,
    PoolReading,
    ReleaseCause,
    WaitFailure,
)

from .dialect_hooks import DialectHooks
from .exhaustion import exhaustion_note
from .leaks import LeakWatch
from .listeners import Listeners, Observation, log_failure, notify
from .open_checkout import OpenCheckout
from .open_context_record import ObservedContext
from .pool_hooks import MARK, observed_class
from .pool_state import read_pool

logger = logging.getLogger("context_async_sqlalchemy")

_NANOSECOND = 1e-9


class Probe:
    """An engine's pool, observed.

    Args:
        engine: the engine; it may be the application's own.
        name: what the pool is called.
        listeners: the methods of observers that are called.

    """

    def __init__(self, engine: Engine, name: str, listeners: Listeners) -> None:
        self.name = name
        self.listeners = listeners
        self.server_address: str | None = engine.url.host
        self.server_port: int | None = engine.url.port
        self.database: str | None = engine.url.database
        self.system: str = engine.dialect.name
        # By the pool's record of the connection, which does not keep what the application holds alive.
        self.open: dict[object, OpenCheckout] = {}
        self.pending = 0
        self.is_installed = True
        # The engine was replaced; sessions in flight may still use it, and are observed.
        self.is_retired = False
        self._is_forgotten = False
        self._engine = engine
        self._leaks = LeakWatch(self)
        # How many connections were made, and perhaps not taken yet; which they are is marked in their records.
        self._made = 0
        self._nested_routes: set[str] = set()
        self._has_failed = False
        # The dialect's hooks pass on what they find no checkout for, so a failure halfway leaves a working engine.
        self._dialect_hooks = DialectHooks(engine.dialect, self.open)
        self._observed_class = observed_class(type(engine.pool), self)
        engine.pool.__class__ = self._observed_class
        # These come with opened and lost connections only. Of the engine, not of the pool: it may be replaced.
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "invalidate", self._invalidated)

    @classmethod
    def install(cls, engine: Engine, name: str, listeners: Listeners) -> "Probe | None":
        """Observe an engine from now on.

        Returns:
            The probe, or None if another DBConnect observes the same engine, or this one cannot be observed, which
            is logged.

        """
        present = getattr(engine.pool, MARK, None)
        if isinstance(present, Probe) and present.is_installed:
            if not present.is_retired:
                return None
            present.remove()
        # One that was removed, and waits for connections that are out still, stays beneath.
        try:
            probe = cls(engine, name, listeners)
        except Exception:
            logger.exception("pool %r cannot be observed: it is used as it is", name)
            return None
        notify(listeners.pool_observed, probe)
        return probe

    def readdress(self, listeners: Listeners) -> None:
        """Tell others from now on; those who are new, and those who were told before, hear of it."""
        before, self.listeners = self.listeners, listeners
        joined, left = _difference(listeners, before), _difference(before, listeners)
        notify(joined.pool_observed, self)
        notify(left.pool_forgotten, self)

    def remove(self) -> None:
        """Observe no more; the checkouts that are open are still seen to their end."""
        if not self.is_installed:
            return
        self.is_installed = False
        self.unhook_if_unused()
        self._tell_forgotten()

    def retire(self) -> None:
        """Hear that another engine is in use now: the pool is forgotten once no connection of it is out."""
        self.is_retired = True
        self.forget_if_drained()

    def forget_if_drained(self) -> None:
        """Have the pool of a replaced engine forgotten, if all its connections are back."""
        if not self.open:
            self._tell_forgotten()

    def _tell_forgotten(self) -> None:
        if not self._is_forgotten:
            self._is_forgotten = True
            notify(self.listeners.pool_forgotten, self)

    def read(self) -> PoolReading:
        """Read the pool's state now."""
        used = len(self.all_open())
        if self.is_retired:
            # What comes back is closed, and only sessions in flight may take another one.
            return PoolReading(used, 0, self.pending, used, 0)
        return read_pool(self._engine.pool, used, self.pending)

    def asked(self, must_wait: bool) -> "ObservedContext | None":  # noqa: FBT001 - positional: a hot path
        """Take down that a checkout begins; return the record of its context."""
        context = current.get() or context_or_none()
        if context is None:
            return None
        # A context knows only the protocol of its record, and a cast would be a call.
        known: Any = context.record
        record: ObservedContext | None = known
        if record is None and not context.has_ended:
            listeners = self.listeners
            record = context.record = ObservedContext(context, listeners, perf_counter_ns())
            for tell in listeners.context_began:
                try:
                    tell(record)
                except Exception as error:  # noqa: BLE001 - logged; an observer never harms the observed
                    log_failure(tell, error)
        if must_wait and record is not None:
            self._look_for_nesting(context, record)
        return record

    def taken(self, fairy: Any, record: ObservedContext | None, asked_at: int, must_wait: bool) -> None:  # noqa: FBT001 - see `asked`
        """Take down that a checkout has succeeded."""
        taken_at = perf_counter_ns()
        entry = fairy._connection_record  # noqa: SLF001 - the public way costs 0.3 us
        path: CheckoutPath = "queued" if must_wait else "idle"
        if self._made and entry.record_info.pop(MARK, False):
            self._made -= 1
            if not must_wait:
                path = "new"
        is_open = self.open
        is_open[entry] = checkout = OpenCheckout(self, record, asked_at, taken_at, path, is_open.get(entry))
        if record is not None and record.early:
            record.checkout_began(self, taken_at)
        threshold = self.listeners.leak_threshold
        if threshold is not None:
            self._leaks.watch(checkout, threshold)

    def failed(self, pool: Pool, record: ObservedContext | None, asked_at: int, error: BaseException) -> None:
        """Take down that a checkout has failed; let the time-out of an exhausted pool say why."""
        failure: WaitFailure = "error"
        ended_at = perf_counter_ns()
        if isinstance(error, PoolTimeoutError):
            failure = "timeout"
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

    def returned(self, checkout: OpenCheckout) -> OpenCheckout | None:  # noqa: C901, PLR0912 - hot: a call costs more than a branch
        """Take down that a connection goes back to its pool, or is lost; return what ends with this one."""
        checkout.released_at = perf_counter_ns()
        if checkout.transaction is not None:
            checkout.end("lost", checkout.released_at, checkout.error)
        transactions = checkout.transactions
        for transaction in transactions:
            checkout.statements += transaction.statements
            checkout.busy += transaction.busy
        record: Any = checkout.context
        if record is None:
            checkout.released_by, _ = _cause(checkout, None)
        else:
            context: Context | None = record.context
            # With a context that has begun to end, the cause is the default: its end.
            if checkout.is_invalidated or (context is not None and context.is_open):
                checkout.released_by, checkout.is_early = _cause(checkout, context)
            if transactions:
                record.last_transaction = transactions[-1].outcome
            if checkout.error is not None:
                record.failed_pool = self
            if checkout.is_early or record.keeps_history:
                record.keep(checkout)
        if checkout.task is not None:
            self._leaks.returned(checkout)
        listeners = self.listeners
        for tell in listeners.checkout_ended:
            try:
                tell(checkout)
            except Exception as error:  # noqa: BLE001 - logged; an observer never harms the observed
                log_failure(tell, error)
        if record is not None and record.keeps_history and listeners.kept_checkout_ended:
            notify(listeners.kept_checkout_ended, checkout)
        previous = checkout.previous
        if previous is not None:
            checkout.previous = None
        return previous

    def all_open(self) -> list[OpenCheckout]:
        """List the checkouts of all connections that are out."""
        every = list(self.open.values())
        shared = [checkout for checkout in every if checkout.previous is not None]
        for checkout in shared:
            before = checkout.previous
            while before is not None:
                every.append(before)
                before = before.previous
        return every

    def log_failure(self, error: Exception) -> None:
        """Log, once, that the probe itself has failed; the application goes on."""
        if not self._has_failed:
            self._has_failed = True
            logger.error("pool %r could not be observed; this is said once", self.name, exc_info=error)

    def _look_for_nesting(self, context: Context, record: ObservedContext) -> None:
        around: set[int] = set()
        each: Context | None = context
        while each is not None:
            if each.record is not None and each.is_open:
                around.add(id(each.record))
            each = each.parent
        if not any(id(checkout.context) in around for checkout in self.all_open()):
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

    def _connected(self, _dbapi_connection: object, entry: Any) -> None:
        try:
            if not entry.record_info.get(MARK):
                entry.record_info[MARK] = True
                self._made += 1
            if self.listeners.connected:
                # With `async_creator` no hook sees the beginning but this, by the wall clock.
                notify(self.listeners.connected, self, max(time.time() - entry.last_connect_time, 0.0))
        except Exception as error:  # noqa: BLE001 - logged; a listener that raises loses the connection
            self.log_failure(error)

    def _invalidated(self, _dbapi_connection: object, entry: Any, error: BaseException | None) -> None:
        try:
            checkout = self.open.get(entry)
            if checkout is not None:
                checkout.is_invalidated = True
                checkout.error = error or checkout.error
            notify(self.listeners.connection_invalidated, self)
        except Exception as failure:  # noqa: BLE001 - as above
            self.log_failure(failure)

    def unhook_if_unused(self) -> None:
        """Leave the engine as it was, once no connection is out."""
        if self.open:
            return
        pool = self._engine.pool
        if type(pool) is self._observed_class:
            pool.__class__ = self._observed_class.__base__  # type: ignore[assignment]
        self._dialect_hooks.remove()
        for name, listener in (("connect", self._connected), ("invalidate", self._invalidated)):
            if event.contains(self._engine, name, listener):
                event.remove(self._engine, name, listener)


def _difference(some: Listeners, others: Listeners) -> Listeners:
    only = tuple(observer for key, observer in some.observers.items() if key not in others.observers)
    return Listeners([Observation(only)])


def _cause(checkout: OpenCheckout, context: Context | None) -> tuple[ReleaseCause, bool]:
    """Tell what gave a connection back, and whether early."""
    is_early = context is not None and context.is_open
    if checkout.is_invalidated:
        return "invalidation", False
    if is_early and context is not None and context.releasing is not None:
        return context.releasing, context.releasing != "end"
    if checkout.context is not None and not is_early:
        return "end", False
    if not checkout.transactions:
        return "close", is_early
    return "commit" if checkout.transactions[-1].outcome in ("commit", "unknown") else "rollback", is_early
