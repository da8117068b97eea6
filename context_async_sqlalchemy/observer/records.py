"""The records that an observer gets: plain data about connections, transactions and contexts.

All instants are nanoseconds of one monotonic clock, :func:`time.perf_counter_ns`. Names that end in ``_seconds`` are
durations in seconds. The library fills a record while its subject is in progress. The record is complete when the
method for its end gets it.

The ``repr`` of a record has no error, because the text of an error may quote SQL and values.
"""

from dataclasses import dataclass, field
from time import perf_counter_ns, time_ns
from typing import Any, Literal, NamedTuple

from .pools import ObservedPool

CheckoutPath = Literal["idle", "new", "queued"]
"""How a checkout got its connection.

``idle``: from the pool. ``new``: the pool opened it. ``queued``: the checkout waited for the
return of a connection."""

TransactionOutcome = Literal["commit", "rollback", "unknown", "lost"]
"""How a transaction ended.

``unknown``: the COMMIT was interrupted, by a cancellation or a lost connection, and may have taken effect. A COMMIT
that the server has refused is a ``rollback``. ``lost``: the connection was lost before the COMMIT."""

ReleaseCause = Literal["commit", "rollback", "close", "headers", "end", "invalidation"]
"""Why a connection was returned. The first four are early releases if the context is open.

The methods ``commit()``, ``rollback()`` and ``close()`` of a session count like the functions of this library. A
``close()`` with an open transaction counts as a rollback, because SQLAlchemy does not tell the two apart."""

WaitFailure = Literal["timeout", "cancelled", "error", "shed"]
"""Why a checkout failed.

``timeout``: ``pool_timeout`` has passed. ``error``: the pool could not open a connection. ``shed``: the ``DBConnect``
does not let it wait any longer, and it got a ``PoolOverloadedError``."""

ContextOutcome = Literal["commit", "rollback", "failed", "unused"]
"""How a context ended. ``failed``: its commit failed. ``unused``: it began a checkout and had no transaction.

A context whose sessions ran no statement begins no checkout, so it has no record."""

NO_ROUTE = "none"
"""The route of work outside of any request, such as a job or a script."""

UNMATCHED_ROUTE = "unmatched"
"""The route of all requests that match no route. Their paths are not used, because they have no bound."""

OTHER_ROUTE = "other"
"""The route of all requests whose routes came after the first ``max_routes`` ones of their application."""

_NANOSECOND = 1e-9


@dataclass(slots=True)
class Transaction:
    """A database transaction, from its first statement to the end of its COMMIT or ROLLBACK."""

    started_at: int
    ended_at: int = 0
    statements: int = 0
    busy: int = 0
    """Nanoseconds spent in the driver, COMMIT or ROLLBACK included."""
    outcome: TransactionOutcome = "lost"
    error: BaseException | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Seconds that the transaction took."""
        return (self.ended_at - self.started_at) * _NANOSECOND


@dataclass(slots=True, eq=False)
class Checkout:
    """A checkout: a connection, from the request for it to its return to the pool."""

    pool: ObservedPool
    context: "ContextRecord | None"
    asked_at: int
    taken_at: int = 0
    released_at: int = 0
    path: CheckoutPath = "idle"
    statements: int = 0
    busy: int = 0
    """Nanoseconds spent in the driver."""
    transactions: list[Transaction] = field(default_factory=list[Transaction])
    """Those of the connection, in their order. Of more than 1,000 the last 1,000 are kept."""
    released_by: ReleaseCause = "end"
    is_early: bool = False
    """Whether the connection was returned, and not lost, while its context was open."""
    error: BaseException | None = field(default=None, repr=False)
    """The last error of a statement, a COMMIT or a ROLLBACK on the connection."""

    @property
    def route(self) -> str:
        """The method and the route's template of the request, or ``NO_ROUTE`` or ``UNMATCHED_ROUTE``."""
        return NO_ROUTE if self.context is None else self.context.route

    @property
    def wait_seconds(self) -> float:
        """Seconds that the checkout waited, the opening of a new connection included."""
        return (self.taken_at - self.asked_at) * _NANOSECOND

    @property
    def hold_seconds(self) -> float:
        """Seconds for which the connection was out of its pool."""
        return (self.released_at - self.taken_at) * _NANOSECOND

    @property
    def idle_seconds(self) -> float:
        """Seconds of the hold in which the driver did nothing.

        An early release could have made the connection available to other contexts for this time.
        """
        return max(self.released_at - self.taken_at - self.busy, 0) * _NANOSECOND

    def idle_for(self, now: int) -> float:
        """Return the seconds of the hold, up to an instant, in which the driver did nothing.

        Once the checkout has ended these are ``idle_seconds``.
        """
        return self.idle_seconds if self.released_at else max(now - self.taken_at - self.busy, 0) * _NANOSECOND


@dataclass(slots=True)
class FailedCheckout:
    """A checkout that ended without a connection."""

    pool: ObservedPool
    context: "ContextRecord | None"
    asked_at: int
    ended_at: int
    failure: WaitFailure
    error: BaseException | None = field(repr=False)
    """None once the context has ended."""

    @property
    def route(self) -> str:
        """See :attr:`Checkout.route`."""
        return NO_ROUTE if self.context is None else self.context.route

    @property
    def wait_seconds(self) -> float:
        """Seconds that the failed checkout waited."""
        return (self.ended_at - self.asked_at) * _NANOSECOND


@dataclass(slots=True)
class EarlyRelease:
    """An early release: a context returned its connection while it was open."""

    checkout: Checkout
    ended_at: int
    """The instant at which the context checked out a connection of this pool again, or ended."""

    @property
    def saved_seconds(self) -> float:
        """Seconds for which the connection was available to other contexts."""
        return (self.ended_at - self.checkout.released_at) * _NANOSECOND


class ContextRecord:
    """A context that has begun a checkout.

    Args:
        route: the context's route, or None for ``UNMATCHED_ROUTE``.
        began_at: the instant at which the context began its first checkout.
        epoch_offset: nanoseconds that turn an instant into Unix time; by default computed at first use.

    Attributes:
        ended_at: the instant at which the context's sessions were closed; 0 before.
        outcome: how the context ended.
        error: the exception with which the end of the context has failed, or None. It is dropped once
            ``context_ended`` was called, and so are the errors of the history: an exception keeps its frames alive.
        keeps_history: whether the record keeps its first ``HISTORY`` checkouts, failed checkouts and early releases.
            An observer that needs them sets this in ``context_began``.

    """

    __slots__ = (
        "__weakref__",
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

    # A record is made for each request that uses a database. Most observers need neither the lists nor Unix time, so
    # both are made at first use.
    def __init__(self, route: str | None, began_at: int, epoch_offset: int | None = None) -> None:
        self._route: str | None = route
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
        """The method and the route's template of the request, or ``NO_ROUTE`` or ``UNMATCHED_ROUTE``."""
        return UNMATCHED_ROUTE if self._route is None else self._route

    @property
    def is_ending(self) -> bool:
        """Whether the end of the context has begun, in which its sessions are committed or rolled back, and closed."""
        return self.ended_at > 0

    @property
    def outermost(self) -> object:
        """What identifies the outermost of the open contexts that this one was opened in; for a job, the job.

        It is the same object for all contexts within one job or one request, and may be referred to weakly. Contexts
        that are opened once the response has begun, as for each message of a websocket, have one of their own.
        """
        return self

    @property
    def epoch_offset(self) -> int:
        """Nanoseconds that turn an instant into Unix time, the same for all instants of a context."""
        if self._epoch_offset is None:
            self._epoch_offset = time_ns() - perf_counter_ns()
        return self._epoch_offset

    @property
    def checkouts(self) -> list[Checkout]:
        """The first checkouts of the context, in the order of their ends."""
        return (self._history or self._keep()).checkouts

    @property
    def failed_checkouts(self) -> list[FailedCheckout]:
        """The first failed checkouts of the context."""
        return (self._history or self._keep()).failed_checkouts

    @property
    def early_releases(self) -> list[EarlyRelease]:
        """The first early releases of the context, in the order of their ends."""
        return (self._history or self._keep()).early_releases

    @property
    def notes(self) -> dict[object, Any]:
        """Data that observers keep with the record. An observer uses itself or another object of its own as the key."""
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
"""How many entries each list of a context's record has at most, so that a job that never ends stays small."""


@dataclass(slots=True)
class NestedCheckout:
    """A checkout of a context that holds a connection of the same pool already.

    Several such checkouts at the same time can deadlock the pool.
    """

    pool: ObservedPool
    context: ContextRecord

    @property
    def route(self) -> str:
        """See :attr:`Checkout.route`."""
        return self.context.route


@dataclass(slots=True)
class FailedAttempt:
    """An attempt of a retried function that the database has refused. The function is run again."""

    pool: ObservedPool | None
    """The pool of the connection that met the conflict; None if it is not known."""
    context: ContextRecord
    sqlstate: str
    """``40001`` for a serialization failure, ``40P01`` for a deadlock."""
    attempt: int
    """The number of the attempt that has failed, from 1."""
    error: BaseException = field(repr=False)

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
    """Where the holder of the connection is now, as a chain of functions and lines, if that is known."""
