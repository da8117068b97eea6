"""Who is told: the observers of one application or connection, and the methods that they really have."""

import contextlib
import logging
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from context_async_sqlalchemy.observer import Observer

logger = logging.getLogger("context_async_sqlalchemy")

T = TypeVar("T")
P = ParamSpec("P")

# The observers' methods that have failed before, by the observer's id.
_failed: set[tuple[int, str]] = set()


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """What one application wants to know about its connections; :class:`~.lifecycle.Lifecycle` documents it."""

    observers: tuple[Observer, ...] = ()
    leak_threshold: float | None = None
    leak_stacks: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to tell, or anything to look for."""
        return bool(self.observers) or self.leak_threshold is not None


class Audience:
    """All observers of a pool. What is None below, nobody wants to hear: nothing is made for it then.

    Args:
        observations: those of the applications that use the pool; an observer of several is told once.

    """

    def __init__(self, observations: Iterable[Observation]) -> None:
        wanted = list(observations)
        self.observers = {id(observer): observer for each in wanted for observer in each.observers}
        observers = list(self.observers.values())
        thresholds = [each.leak_threshold for each in wanted if each.leak_threshold is not None]
        self.leak_threshold = min(thresholds, default=None)
        self.leak_stacks = any(each.leak_stacks for each in wanted)
        self.workers_starting = _tell_rarely([observer.workers_starting for observer in observers])
        self.pool_observed = _tell([observer.pool_observed for observer in observers])
        self.pool_forgotten = _tell([observer.pool_forgotten for observer in observers])
        self.connected = _tell_rarely([observer.connected for observer in observers])
        self.connection_invalidated = _tell([observer.connection_invalidated for observer in observers])
        self.checkout_failed = _tell([observer.checkout_failed for observer in observers])
        self.early_release_ended = _tell([observer.early_release_ended for observer in observers])
        self.nested_checkout = _tell([observer.nested_checkout for observer in observers])
        self.retried = _tell([observer.retried for observer in observers])
        self.leak_suspected = _tell([observer.leak_suspected for observer in observers])
        self.leak_returned = _tell([observer.leak_returned for observer in observers])
        # These three come with each request. Whoever tells calls the methods itself, and catches what they raise: a
        # function in between costs as much as many an observer.
        of_all = [observer for observer in observers if not observer.hears_of_kept_only]
        self.context_began = _overridden([observer.context_began for observer in observers])
        self.checkout_ended = _overridden([observer.checkout_ended for observer in of_all])
        self.context_ended = _overridden([observer.context_ended for observer in of_all])
        of_kept = [observer for observer in observers if observer.hears_of_kept_only]
        self.kept_checkout_ended = _tell([observer.checkout_ended for observer in of_kept])
        self.kept_context_ended = _tell([observer.context_ended for observer in of_kept])


def _tell(methods: list[Callable[[T], None]]) -> Callable[[T], None] | None:
    """Make one call of the methods that are overridden; what they raise is logged once and goes no further."""
    overridden = _overridden(methods)

    # One argument by its name: `*args` would cost half as much again, several times for each request.
    def tell_all(told: T) -> None:
        for method in overridden:
            try:
                method(told)
            except Exception as error:  # noqa: BLE001 - logged; an observer never harms the observed
                log_failure(method, error)

    return tell_all if overridden else None


def _tell_rarely(methods: list[Callable[P, None]]) -> Callable[P, None] | None:
    """Do the same for methods of any signature, at a higher price."""
    overridden = _overridden(methods)

    def tell_all(*args: P.args, **kwargs: P.kwargs) -> None:
        for method in overridden:
            try:
                method(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - logged; an observer never harms the observed
                log_failure(method, error)

    return tell_all if overridden else None


def _overridden(methods: list[Callable[P, None]]) -> tuple[Callable[P, None], ...]:
    return tuple(
        method
        for method in methods
        if getattr(method, "__func__", None) is not getattr(Observer, getattr(method, "__name__", ""), method)
    )


def log_failure(method: Callable[..., None], error: Exception) -> None:
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
        "the observer %r failed in %s; this is said once, it is told further on, and the application goes on",
        observer,
        name,
        exc_info=error,
    )
