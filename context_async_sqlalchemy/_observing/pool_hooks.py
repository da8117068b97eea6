"""Watches one pool: checkouts, waits for them, and every way in which a connection comes back or is lost.

The class of the live pool is replaced by one that is derived from it: so engines that the application has made can be
observed, ``dispose()`` keeps it (it makes the new pool by the old one's class), and it can be taken back. Nothing here
raises into SQLAlchemy: an exception while a connection is given back would lose its place in the pool for ever.
"""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool, QueuePool

from .pool import WatchedPool

MARK = "_context_async_sqlalchemy_pool"
"""The attribute of the derived class that holds its WatchedPool."""


class PoolHooks:
    """The derived class of one engine's pool.

    Args:
        engine: the engine whose pool is to be observed.
        pool: told of everything that the engine's pool does.

    """

    def __init__(self, engine: Engine, pool: WatchedPool) -> None:
        self._engine = engine
        self._observed_class = observed_class(type(engine.pool), pool)
        engine.pool.__class__ = self._observed_class

    def remove(self) -> None:
        """Give the pool its class back; a class that was derived from ours since stays and only passes calls on."""
        pool = self._engine.pool
        if type(pool) is self._observed_class:
            pool.__class__ = self._observed_class.__base__  # type: ignore[assignment]


def watched_pool_of(engine: Engine) -> WatchedPool | None:
    """Return what observes an engine's pool, or None if nothing does."""
    present = getattr(engine.pool, MARK, None)
    return present if isinstance(present, WatchedPool) else None


def observed_class(base: type[Pool], pool: WatchedPool) -> type[Pool]:
    """Derive the class of a pool that tells a WatchedPool what it does."""
    attributes = {
        "connect": _connect(base, pool),
        "_do_return_conn": _return(base, pool),
        MARK: pool,
        "__module__": base.__module__,
    }
    return type(base.__name__, (base,), attributes)


def _connect(base: type[Pool], pool: WatchedPool) -> Callable[[Any], Any]:
    base_connect: Any = base.connect
    now = perf_counter_ns
    is_queue_pool = issubclass(base, QueuePool)

    def connect(self: Any) -> Any:
        if not pool.is_installed:
            return base_connect(self)
        record = None
        must_wait = False
        try:
            if is_queue_pool and -1 < self._max_overflow <= self._overflow:
                # All connections are open, and somebody else's must be waited for if none is idle.
                must_wait = self.checkedin() == 0
            record = pool.checkout_started(must_wait)
        except Exception as error:  # noqa: BLE001 - logged
            pool.log_failure(error)
        if must_wait:
            pool.pending += 1
        asked_at = now()
        try:
            fairy = base_connect(self)
        except BaseException as failure:
            pool.pending -= must_wait
            try:
                pool.checkout_failed(self, record, asked_at, failure)
            except Exception as error:  # noqa: BLE001 - logged; the application gets the failure itself
                pool.log_failure(error)
            raise
        if must_wait:
            pool.pending -= 1
        try:
            pool.checkout_succeeded(fairy, record, asked_at, must_wait)
        except Exception as error:  # noqa: BLE001 - logged
            pool.log_failure(error)
        return fairy

    return connect


def _return(base: type[Pool], pool: WatchedPool) -> Callable[[Any, Any], None]:
    base_return: Any = base._do_return_conn  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    open_checkouts = pool.open

    # Whatever the way of a connection out of an application's hands, it ends here: check-in, invalidation, detaching,
    # garbage collection. The events of a pool do not come in pairs when tasks are cancelled.
    def _do_return_conn(self: Pool, record: Any) -> None:
        try:
            checkout = open_checkouts.pop(record, None)
            while checkout is not None:
                checkout = pool.checkout_ended(checkout)
            if pool.is_draining:
                pool.when_left()
        except Exception as error:  # noqa: BLE001 - logged
            pool.log_failure(error)
        finally:
            base_return(self, record)

    return _do_return_conn
