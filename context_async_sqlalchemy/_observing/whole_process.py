"""Observers of every DBConnect of the process, whatever its application says."""

from collections.abc import Callable
from threading import Lock
from typing import Protocol
from weakref import WeakSet

from context_async_sqlalchemy._context import late_use
from context_async_sqlalchemy.observer import Observer

from .listeners import Observation, notify, overridden


class Observable(Protocol):
    """A ``DBConnect``, as far as observing goes."""

    def __hash__(self) -> int:
        """Return the hash by which the registry keeps the object."""
        ...

    def observe(self, observation: Observation) -> None:
        """Notify the observers of the events of every engine of this object."""
        ...

    def observe_no_more(self, observation: Observation) -> None:
        """Undo an ``observe``."""
        ...


_lock = Lock()
_connections: WeakSet[Observable] = WeakSet()
_observations: list[Observation] = []


def join(connection: Observable) -> list[Observation]:
    """Register a new DBConnect, and return the observations that it begins with."""
    with _lock:
        _connections.add(connection)
        return list(_observations)


def observe_process(observer: Observer) -> Callable[[], None]:
    """Observe every DBConnect of the process; ``adapter_kit.observe_process`` documents it."""
    observation = Observation((observer,))
    late = overridden([observer.context_used_late])

    def tell_late() -> None:
        notify(late)

    def stop() -> None:
        with _lock:
            if observation not in _observations:
                return
            _observations.remove(observation)
            observed = list(_connections)
        if late:
            late_use.told.remove(tell_late)
        for connection in observed:
            connection.observe_no_more(observation)

    with _lock:
        _observations.append(observation)
        present = list(_connections)
    if late:
        late_use.told.append(tell_late)
    for connection in present:
        connection.observe(observation)
    return stop
