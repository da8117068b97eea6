"""Observers of every DBConnect of the process, also within a block of ``rolled_back``."""

from collections.abc import Callable
from time import perf_counter_ns

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, SessionTransaction

from context_async_sqlalchemy._observing import whole_process
from context_async_sqlalchemy._observing.listeners import notify, overridden
from context_async_sqlalchemy._observing.open_checkout import OpenCheckout
from context_async_sqlalchemy._observing.pool import WatchedPool
from context_async_sqlalchemy._observing.pool_hooks import watched_pool_of
from context_async_sqlalchemy._shared_connection import QueuedSession
from context_async_sqlalchemy.observer import ContextRecord, Observer


def observe_process(observer: Observer) -> Callable[[], None]:
    """Observe every DBConnect of the process, those that exist and those that are made later.

    The observer is called whatever ``observers=`` an application gives to ``setup_db``, and also without any
    application. This is for tests and for tools, which must see an application without a change of its code.

    In a block of ``test_utils.rolled_back`` the sessions share one connection. The observer is told of each session's
    use of it by ``checkout_began`` and ``checkout_ended``, as if the session had a connection of its own.

    Args:
        observer: the observer. It also gets ``context_used_late``, which others do not.

    Returns:
        A function that ends the observing. A second call of it does nothing.

    """
    stop_observing = whole_process.observe_process(observer)
    shared = _SharedUses(observer)

    def stop() -> None:
        shared.stop()
        stop_observing()

    return stop


class _SharedUse(OpenCheckout):
    """A session's use of a connection that sessions share, from the begin to the end of its transaction."""

    def __init__(self, pool: WatchedPool, context: ContextRecord, shared: OpenCheckout) -> None:
        now = perf_counter_ns()
        super().__init__(pool, context, now, now)
        self._shared = shared
        self._idle_before = shared.idle_for(now)

    def idle_for(self, now: int) -> float:
        """Return the seconds in which the driver did nothing for any of the sessions."""
        return self.idle_seconds if self.released_at else max(self._shared.idle_for(now) - self._idle_before, 0.0)

    def complete(self) -> None:
        """Set what is known at the end."""
        now = perf_counter_ns()
        self.busy = now - self.taken_at - round(self.idle_for(now) * 1e9)
        self.released_at = now


class _SharedUses:
    """Tells an observer of the sessions that share a connection."""

    def __init__(self, observer: Observer) -> None:
        self._began = overridden([observer.checkout_began])
        self._ended = overridden([observer.checkout_ended])
        self._open: dict[Session, _SharedUse] = {}
        self._is_listening = True
        event.listen(QueuedSession, "after_begin", self._session_began)
        event.listen(QueuedSession, "after_transaction_end", self._transaction_ended)

    def stop(self) -> None:
        """Tell of no further sessions."""
        if self._is_listening:
            self._is_listening = False
            event.remove(QueuedSession, "after_begin", self._session_began)
            event.remove(QueuedSession, "after_transaction_end", self._transaction_ended)
            self._open.clear()

    # `notify` logs an exception, which must not reach the session.
    def _session_began(self, session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
        # A SAVEPOINT of the session itself begins within its transaction.
        if session not in self._open:
            notify((self._begin,), session, connection)

    def _transaction_ended(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            notify((self._end,), session)

    def _begin(self, session: Session, connection: Connection) -> None:
        pool = watched_pool_of(connection.engine)
        if pool is None:
            return
        shared = pool.open.get(getattr(connection.connection, "_connection_record", None))
        record = pool.checkout_started(must_wait=False)
        # The session of the test has no context, so it has no record.
        if shared is not None and record is not None:
            self._open[session] = use = _SharedUse(pool, record, shared)
            notify(self._began, use)

    def _end(self, session: Session) -> None:
        use = self._open.pop(session, None)
        if use is not None:
            use.complete()
            notify(self._ended, use)
