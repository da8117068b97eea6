"""The records that an observer is given: of pools, connections, transactions and contexts, in plain data.

All instants are nanoseconds of one monotonic clock, :func:`time.perf_counter_ns`; what is named ``..._seconds`` or
documented so is in seconds. Records are filled while things happen and complete when an observer gets them.
"""

from dataclasses import dataclass, field
from time import perf_counter_ns, time_ns
from typing import Any, Literal, NamedTuple, Protocol

CheckoutPath = Literal["idle", "new", "queued"]
"""How a connection was got: it was idle in the pool, it had to be made, or another one's return was waited for."""

TransactionOutcome = Literal["commit", "rollback", "unknown", "lost"]
"""``unknown``: the COMMIT was interrupted, by a cancellation or a lost connection, and may have happened; one that the
server has refused is a ``rollback``. ``lost``: the connection went away before."""

ReleaseCause = Literal["commit", "rollback", "close", "headers", "end", "invalidation"]
"""What gave a connection back: the first four, within an open context, are early releases.

A session's own ``commit()``, ``rollback()`` and ``close()`` count as the library's; ``close()`` of an open
transaction is a rollback, as SQLAlchemy does not let the two be told apart."""

WaitFailure = Literal["timeout", "cancelled", "error"]

ContextOutcome = Literal["commit", "rollback", "failed", "unused"]
"""How a context ended; ``failed``: its commit did."""

NO_ROUTE = "none"
"""The route of what happens in no request: a job, a script."""

UNMATCHED_ROUTE = "unmatched"
"""The route of all requests that match none: their paths would be labels without bound."""

_NANOSECOND = 1e-9


class PoolReading(NamedTuple):
    """What a pool is doing now; ``maximum`` and ``idle_maximum`` are None for a pool without a limit."""

    used: int
    idle: int
    pending: int
    maximum: int | None
    idle_maximum: int | None


class ObservedPool(Protocol):
    """A connection pool as an observer sees it; it stays the same object when the engine's pool is replaced."""

    @property
    def name(self) -> str:
        """The name of the DBConnect: the value of ``db.client.connection.pool.name``."""
        ...

    @property
    def server_address(self) -> str | None:
        """The host that the engine connects to."""
        ...

    @property
    def server_port(self) -> int | None:
        """The port, where the URL names one."""
        ...

    @property
    def database(self) -> str | None:
        """The name of the database: ``db.namespace``."""
        ...

    @property
    def system(self) -> str:
        """SQLAlchemy's name of the dialect, ``postgresql`` for example: ``db.system.name``."""
        ...

    def read(self) -> PoolReading:
        """Read the pool's state now, in any thread; nothing is counted up and down."""
        ...


@dataclass(slots=True)
class Transaction:
    """One database transaction: from its first statement to the end of its COMMIT or ROLLBACK."""

    started_at: int
    ended_at: int = 0
    statements: int = 0
    busy: int = 0
    """Nanoseconds in the driver, COMMIT or ROLLBACK included."""
    outcome: TransactionOutcome = "lost"
    error: BaseException | None = None

    @property
    def seconds(self) -> float:
        """How long the transaction took."""
        return (self.ended_at - self.started_at) * _NANOSECOND


@dataclass(slots=True, eq=False)
class Checkout:
    """One stay of a connection outside of its pool."""

    pool: ObservedPool
    context: "ContextRecord | None"
    asked_at: int
    taken_at: int = 0
    released_at: int = 0
    path: CheckoutPath = "idle"
    statements: int = 0
    busy: int = 0
    """Nanoseconds in the driver."""
    transactions: list[Transaction] = field(default_factory=list[Transaction])
    released_by: ReleaseCause = "end"
    is_early: bool = False
    """Whether it was an early release: given back, not lost, while its context was open."""
    error: BaseException | None = None
    """The last error of a statement, a COMMIT or a ROLLBACK on it."""

    @property
    def route(self) -> str:
        """The template of the request's route, with its method; or ``NO_ROUTE``, ``UNMATCHED_ROUTE``."""
        return NO_ROUTE if self.context is None else self.context.route

    @property
    def wait_seconds(self) -> float:
        """How long the checkout took: the wait for a connection, and its making if one was made."""
        return (self.taken_at - self.asked_at) * _NANOSECOND

    @property
    def hold_seconds(self) -> float:
        """How long the connection was out of its pool."""
        return (self.released_at - self.taken_at) * _NANOSECOND

    @property
    def idle_seconds(self) -> float:
        """How much of the hold the driver did nothing: what an early release could have given to others."""
        return max(self.released_at - self.taken_at - self.busy, 0) * _NANOSECOND


@dataclass(slots=True)
class FailedCheckout:
    """A wait that ended without a connection."""

    pool: ObservedPool
    context: "ContextRecord | None"
    asked_at: int
    ended_at: int
    failure: WaitFailure
    error: BaseException

    @property
    def route(self) -> str:
        """See :attr:`Checkout.route`."""
        return NO_ROUTE if self.context is None else self.context.route

    @property
    def wait_seconds(self) -> float:
        """How long was waited in vain."""
        return (self.ended_at - self.asked_at) * _NANOSECOND


@dataclass(slots=True)
class EarlyRelease:
    """The time for which a context, still open, had given its connection back."""

    checkout: Checkout
    ended_at: int
    """When the context took a connection of this pool again, or ended."""

    @property
    def saved_seconds(self) -> float:
        """For how long others could have the connection."""
        return (self.ended_at - self.checkout.released_at) * _NANOSECOND


class ContextRecord:
    """One context that has taken a connection.

    Args:
        route: its route.
        began_at: when it asked for its first connection.
        epoch_offset: nanoseconds to add to an instant to have Unix time; by default those of the moment when somebody
            asks for them first.

    Attributes:
        ended_at: when its sessions were closed; 0 before.
        outcome: how it ended; ``unused`` too if no transaction has run in it.
        error: what its end failed with.
        keeps_history: set by an observer in ``context_began`` that needs the three lists; the first ``HISTORY`` of
            each are kept.

    """

    __slots__ = (
        "_epoch_offset",
        "_history",
        "_notes",
        "_route",
        "began_at",
        "ended_at",
        "error",
        "keeps_history",
        "outcome",
    )

    # One is made for each request, and most of them are asked for few of these: lists and the clock wait till then.
    def __init__(self, route: str | None, began_at: int, epoch_offset: int | None = None) -> None:
        self._route = route
        self.began_at = began_at
        self._epoch_offset = epoch_offset
        self.ended_at: int = 0
        self.outcome: ContextOutcome = "unused"
        self.error: BaseException | None = None
        self.keeps_history: bool = False
        self._history: _History | None = None
        self._notes: dict[object, Any] | None = None

    @property
    def route(self) -> str:
        """The template of the request's route, with its method; or ``NO_ROUTE``, ``UNMATCHED_ROUTE``."""
        return UNMATCHED_ROUTE if self._route is None else self._route

    @property
    def epoch_offset(self) -> int:
        """Nanoseconds to add to an instant to have Unix time: the same for all instants of one context."""
        if self._epoch_offset is None:
            self._epoch_offset = time_ns() - perf_counter_ns()
        return self._epoch_offset

    @property
    def checkouts(self) -> list[Checkout]:
        """What the context has held, in the order of its end."""
        return (self._history or self._keep()).checkouts

    @property
    def failed_checkouts(self) -> list[FailedCheckout]:
        """What it has waited for in vain."""
        return (self._history or self._keep()).failed_checkouts

    @property
    def early_releases(self) -> list[EarlyRelease]:
        """What it has given back before its end, in the order of the releases' ends."""
        return (self._history or self._keep()).early_releases

    @property
    def notes(self) -> dict[object, Any]:
        """What observers keep with the record, each under a key of its own."""
        if self._notes is None:
            self._notes = {}
        return self._notes

    def _keep(self) -> "_History":
        self._history = _History([], [], [])
        return self._history


class _History(NamedTuple):
    checkouts: list[Checkout]
    failed_checkouts: list[FailedCheckout]
    early_releases: list[EarlyRelease]


HISTORY = 100
"""How many of each kind a context's record keeps: a job that never ends must not grow without bound."""


@dataclass(slots=True)
class NestedCheckout:
    """A context waits for a connection while it holds one of the same pool: enough of these deadlock the pool."""

    pool: ObservedPool
    context: ContextRecord

    @property
    def route(self) -> str:
        """See :attr:`Checkout.route`."""
        return self.context.route


@dataclass(slots=True)
class FailedAttempt:
    """A run of a function that the database has refused, and that is run again."""

    pool: ObservedPool | None
    """Whose connection it was; None if that is not known."""
    context: ContextRecord
    sqlstate: str
    """``40001``: a serialization failure; ``40P01``: a deadlock."""
    attempt: int
    """The number of the run that has failed, from 1."""
    error: BaseException

    @property
    def route(self) -> str:
        """See :attr:`Checkout.route`."""
        return self.context.route


@dataclass(slots=True)
class SuspectedLeak:
    """A connection that has been held for longer than the threshold."""

    checkout: Checkout
    held_seconds: float
    holder: str
    """Where its holder is now, if that is known: a chain of functions and lines."""
