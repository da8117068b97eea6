"""Observes one pool: checkouts, waits for connections, and every way in which a connection is returned or lost.

The class of the live pool is replaced by a derived class, so that an engine can be observed which the application has
made. ``dispose()`` keeps the derived class, because it makes the new pool by the class of the old one.

Nothing here raises into SQLAlchemy. An exception while a connection is returned would lose its place in the pool for
ever.
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
    """The class that one engine's pool has while it is observed.

    Args:
        engine: the engine whose pool is to be observed.
        pool: called for every checkout and every return.

    """

    def __init__(self, engine: Engine, pool: WatchedPool) -> None:
        self._engine = engine
        self._observed_class = observed_class(type(engine.pool), pool)
        engine.pool.__class__ = self._observed_class

    def remove(self) -> None:
        """Give the pool its class back; a class that was derived from ours since stays, and only passes calls on."""
        pool = self._engine.pool
        if type(pool) is self._observed_class:
            pool.__class__ = self._observed_class.__base__  # type: ignore[assignment]


def watched_pool_of(engine: Engine) -> WatchedPool | None:
    """Return the WatchedPool that observes an engine's pool, or None if there is none."""
    present = getattr(engine.pool, MARK, None)
    return present if isinstance(present, WatchedPool) else None


def observed_class(base: type[Pool], pool: WatchedPool) -> type[Pool]:
    """Return a class derived from a pool's that calls a WatchedPool for every checkout and every return."""
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
                # The pool may open no more connections. The checkout waits for a return if none is idle.
                must_wait = self.checkedin() == 0
            record = pool.checkout_started(must_wait=must_wait)
        except Exception as error:  # noqa: BLE001 - logged
            pool.log_failure(error)
        wait = pool.wait_began(record) if must_wait else None
        asked_at = now()
        try:
            fairy = base_connect(self)
        except BaseException as failure:
            if wait is not None:
                pool.waits.discard(wait)
            try:
                pool.checkout_failed(self, record, asked_at, failure)
            except Exception as error:  # noqa: BLE001 - logged; the application gets the failure itself
                pool.log_failure(error)
            raise
        if wait is not None:
            pool.waits.discard(wait)
        try:
            pool.checkout_succeeded(fairy, record, asked_at, must_wait=must_wait)
        except Exception as error:  # noqa: BLE001 - logged
            pool.log_failure(error)
        return fairy

    return connect


def _return(base: type[Pool], pool: WatchedPool) -> Callable[[Any, Any], None]:
    base_return: Any = base._do_return_conn  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    open_checkouts = pool.open

    # Every checkout ends here: by a return, an invalidation, a detachment or the garbage collector. Events of the pool
    # would not do, because a cancelled task may leave a checkout without its second event.
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
