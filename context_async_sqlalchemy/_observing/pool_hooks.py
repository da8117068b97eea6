"""Watches one pool: checkouts, waits for them, and every way in which a connection comes back or is lost.

The class of the live pool is replaced by one that is derived from it: so engines that the application has made can be
observed, ``dispose()`` keeps it (it makes the new pool by the old one's class), and it can be taken back. Nothing here
raises into SQLAlchemy: an exception while a connection is given back would lose its place in the pool for ever.
"""

from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import Pool, QueuePool

if TYPE_CHECKING:
    from .probe import Probe

MARK = "_context_async_sqlalchemy_probe"
"""The attribute of the derived class that holds its probe."""


def observed_class(base: type[Pool], probe: "Probe") -> type[Pool]:
    """Derive the class of a pool that tells a probe what it does."""
    attributes = {
        "connect": _connect(base, probe),
        "_do_return_conn": _return(base, probe),
        MARK: probe,
        "__module__": base.__module__,
    }
    return type(base.__name__, (base,), attributes)


def _connect(base: type[Pool], probe: "Probe") -> Callable[[Any], Any]:
    base_connect: Any = base.connect
    now = perf_counter_ns
    is_queue_pool = issubclass(base, QueuePool)

    def connect(self: Any) -> Any:
        if not probe.is_installed:
            return base_connect(self)
        record = None
        must_wait = False
        try:
            if is_queue_pool and -1 < self._max_overflow <= self._overflow:
                # All connections are open, and somebody else's must be waited for if none is idle.
                must_wait = self.checkedin() == 0
            record = probe.asked(must_wait)
        except Exception as error:  # noqa: BLE001 - logged
            probe.log_failure(error)
        if must_wait:
            probe.pending += 1
        asked_at = now()
        try:
            fairy = base_connect(self)
        except BaseException as failure:
            probe.pending -= must_wait
            try:
                probe.failed(self, record, asked_at, failure)
            except Exception as error:  # noqa: BLE001 - logged; the application gets the failure itself
                probe.log_failure(error)
            raise
        if must_wait:
            probe.pending -= 1
        try:
            probe.taken(fairy, record, asked_at, must_wait)
        except Exception as error:  # noqa: BLE001 - logged
            probe.log_failure(error)
        return fairy

    return connect


def _return(base: type[Pool], probe: "Probe") -> Callable[[Any, Any], None]:
    base_return: Any = base._do_return_conn  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    open_checkouts = probe.open

    # Whatever the way of a connection out of an application's hands, it ends here: check-in, invalidation, detaching,
    # garbage collection. The events of a pool do not come in pairs when tasks are cancelled.
    def _do_return_conn(self: Pool, record: Any) -> None:
        try:
            checkout = open_checkouts.pop(record, None)
            while checkout is not None:
                checkout = probe.returned(checkout)
            if not probe.is_installed:
                probe.unhook_if_unused()
            elif probe.is_retired:
                probe.forget_if_drained()
        except Exception as error:  # noqa: BLE001 - logged
            probe.log_failure(error)
        finally:
            base_return(self, record)

    return _do_return_conn
