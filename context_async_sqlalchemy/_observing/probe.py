"""The probe of one engine: it puts hooks on the pool and the dialect, and takes them off."""

import logging

from sqlalchemy import event
from sqlalchemy.engine import Engine

from .dialect_hooks import DialectHooks
from .listeners import Listeners, Observation, notify
from .pool import WatchedPool
from .pool_hooks import PoolHooks, watched_pool_of

logger = logging.getLogger("context_async_sqlalchemy")


class Probe:
    """The hooks on one engine.

    Args:
        engine: the engine; it may be the application's own.
        name: the name of its pool in metrics, spans and warnings.
        listeners: the methods of observers that are called.

    """

    def __init__(self, engine: Engine, name: str, listeners: Listeners) -> None:
        self._pool = pool = WatchedPool(engine, name, listeners, self._unhook)
        # A failure after this line leaves a working engine, because the dialect's hooks pass calls on if they find no
        # checkout.
        self._dialect_hooks = DialectHooks(engine.dialect, pool.open)
        self._pool_hooks = PoolHooks(engine, pool)
        # SQLAlchemy calls these two only when a connection is made or lost. The engine has them, because
        # `dispose()` replaces its pool.
        self._events = (("connect", pool.connected), ("invalidate", pool.invalidated))
        self._engine = engine
        for name_of_event, listener in self._events:
            event.listen(engine, name_of_event, listener)

    @classmethod
    def install(cls, engine: Engine, name: str, listeners: Listeners) -> "Probe | None":
        """Observe an engine from now on.

        Returns:
            The probe, or None if another DBConnect observes the same engine, or if this engine cannot be observed,
            which is logged.

        """
        present = watched_pool_of(engine)
        if present is not None and present.is_installed:
            if not present.is_replaced:
                return None
            present.remove()
        # A removed probe whose connections are still out stays installed beneath the new one.
        try:
            probe = cls(engine, name, listeners)
        except Exception:
            logger.exception("pool %r cannot be observed: it is used as it is", name)
            return None
        notify(listeners.pool_observed, probe._pool)
        return probe

    def set_listeners(self, listeners: Listeners) -> None:
        """Replace the observers: added ones get ``pool_observed``, dropped ones ``pool_forgotten``."""
        pool = self._pool
        before = pool.listeners
        pool.set_listeners(listeners)
        notify(_difference(listeners, before).pool_observed, pool)
        notify(_difference(before, listeners).pool_forgotten, pool)

    def remove(self) -> None:
        """Observe no new checkouts; the hooks go when the last open one has ended."""
        self._pool.remove()

    def replaced(self) -> None:
        """Record that another engine is in use now; sessions in flight are observed to their end."""
        self._pool.replaced()

    def _unhook(self) -> None:
        self._pool_hooks.remove()
        self._dialect_hooks.remove()
        for name, listener in self._events:
            if event.contains(self._engine, name, listener):
                event.remove(self._engine, name, listener)


def _difference(some: Listeners, others: Listeners) -> Listeners:
    only = tuple(observer for key, observer in some.observers.items() if key not in others.observers)
    return Listeners([Observation(only)])
