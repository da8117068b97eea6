"""The observers of one pool, sorted by the events that they listen to."""

import contextlib
import logging
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec, TypeVarTuple

from context_async_sqlalchemy._redaction import kind_of, without_statements
from context_async_sqlalchemy.observer import Observer

logger = logging.getLogger("context_async_sqlalchemy")

Args = TypeVarTuple("Args")
P = ParamSpec("P")

# The observers' methods that have failed before. The key is the observer's id and the method's name.
_failed: set[tuple[int, str]] = set()


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """The options of one application about observing; ``adapter_kit.Lifecycle`` documents them."""

    observers: tuple[Observer, ...] = ()
    leak_threshold: float | None = None
    leak_stacks: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether there is an observer, or leaks are looked for."""
        return bool(self.observers) or self.leak_threshold is not None


class Listeners:
    """The observers of one pool: for each event the methods that listen to it.

    The tuple of an event is empty if no observer overrides the method. A caller of :func:`notify` checks the tuple
    before it builds a record, so that no record is built for nobody.

    Args:
        observations: the options of the applications that use the pool. An observer of several applications is
            called once.

    """

    def __init__(self, observations: Iterable[Observation]) -> None:
        wanted = list(observations)
        self.observers = {id(observer): observer for each in wanted for observer in each.observers}
        observers = list(self.observers.values())
        thresholds = [each.leak_threshold for each in wanted if each.leak_threshold is not None]
        self.leak_threshold = min(thresholds, default=None)
        self.leak_stacks = any(each.leak_stacks for each in wanted)
        self.workers_starting = overridden([observer.workers_starting for observer in observers])
        self.application_started = overridden([observer.application_started for observer in observers])
        self.application_stopped = overridden([observer.application_stopped for observer in observers])
        self.pool_observed = overridden([observer.pool_observed for observer in observers])
        self.pool_forgotten = overridden([observer.pool_forgotten for observer in observers])
        self.connected = overridden([observer.connected for observer in observers])
        self.connection_invalidated = overridden([observer.connection_invalidated for observer in observers])
        self.checkout_began = overridden([observer.checkout_began for observer in observers])
        self.checkout_failed = overridden([observer.checkout_failed for observer in observers])
        self.early_release_ended = overridden([observer.early_release_ended for observer in observers])
        self.nested_checkout = overridden([observer.nested_checkout for observer in observers])
        self.retried = overridden([observer.retried for observer in observers])
        self.leak_suspected = overridden([observer.leak_suspected for observer in observers])
        self.leak_returned = overridden([observer.leak_returned for observer in observers])
        of_all = [observer for observer in observers if not observer.hears_of_kept_only]
        self.context_began = overridden([observer.context_began for observer in observers])
        self.checkout_ended = overridden([observer.checkout_ended for observer in of_all])
        self.context_ended = overridden([observer.context_ended for observer in of_all])
        of_kept = [observer for observer in observers if observer.hears_of_kept_only]
        self.kept_checkout_ended = overridden([observer.checkout_ended for observer in of_kept])
        self.kept_context_ended = overridden([observer.context_ended for observer in of_kept])


def notify(methods: tuple[Callable[[*Args], None], ...], *args: *Args) -> None:
    """Call the methods that listen to an event; log an exception once for each observer and method."""
    for method in methods:
        try:
            method(*args)
        except Exception as error:  # noqa: BLE001 - logged; an observer never harms the observed
            _log_failure(method, error)


def overridden(methods: list[Callable[P, None]]) -> tuple[Callable[P, None], ...]:
    """Return the methods that do something: those that the class of their observer overrides."""
    return tuple(
        method
        for method in methods
        if getattr(method, "__func__", None) is not getattr(Observer, getattr(method, "__name__", ""), method)
    )


def _log_failure(method: Callable[..., None], error: Exception) -> None:
    """Log, once for each observer and method, that an observer has raised."""
    observer = getattr(method, "__self__", method)
    name = getattr(method, "__name__", repr(method))
    key = (id(observer), name)
    if key in _failed:
        return
    _failed.add(key)
    with contextlib.suppress(TypeError):
        weakref.finalize(observer, _failed.discard, key)
    logger.error(
        "the observer %s failed in %s; this is said once, it is told further on, and the application goes on",
        kind_of(observer),
        name,
        exc_info=without_statements(error),
    )
