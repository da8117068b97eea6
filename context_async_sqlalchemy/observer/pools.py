"""A pool as observers see it: what it is, and its numbers of connections and of waiting checkouts."""

from typing import NamedTuple, Protocol


class PoolReading(NamedTuple):
    """The state of a pool: its numbers of connections and of waiting checkouts.

    ``maximum`` and ``idle_maximum`` are None for a pool without a limit.
    """

    used: int
    idle: int
    pending: int
    maximum: int | None
    idle_maximum: int | None


class PoolPeaks(NamedTuple):
    """The highest numbers of a pool in the last one or two minutes, and at least since the last reading."""

    used: int
    pending: int


class ObservedPool(Protocol):
    """A connection pool. It stays the same object when SQLAlchemy replaces the engine's pool."""

    @property
    def name(self) -> str:
        """The name of the DBConnect, which is the value of ``db.client.connection.pool.name``."""
        ...

    @property
    def server_address(self) -> str | None:
        """The host that the engine connects to, or None if it is not known."""
        ...

    @property
    def server_port(self) -> int | None:
        """The port that the engine connects to, or None if the URL names none."""
        ...

    @property
    def database(self) -> str | None:
        """The name of the database, which is the value of ``db.namespace``."""
        ...

    @property
    def system(self) -> str:
        """SQLAlchemy's name of the dialect, for example ``postgresql``."""
        ...

    def read(self) -> PoolReading:
        """Return the current state of the pool. May be called in any thread."""
        ...

    def peaks(self) -> PoolPeaks:
        """Return the highest numbers of the last minute, and at least since the last call. Any thread may call it."""
        ...
