"""A session that is open, as far as the inspector follows it."""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from itertools import count
from typing import Any
from weakref import ref

from context_async_sqlalchemy.observer import Checkout, ContextRecord, FailedCheckout

from .traces import current_trace

MOST_CHECKOUTS = 50
"""How many checkouts of a session are kept. Those after them are only counted."""

_numbers = count(1)


class OpenSession:
    """A context that has begun a checkout and has not ended, or a connection or a wait outside of any context.

    Each request that uses a database makes one, so it makes nothing that only a look needs.

    Args:
        record: the record of the context, or None.
        task: the task that began it.
        variables: the context variables that it began with, or None if they are not known.

    Attributes:
        reference: the weak reference by which the session is found, or None.
        checkouts: the first checkouts that have ended.
        failed: the first checkouts that failed.
        retries: how many attempts the database has refused.
        transactions: those of the checkouts that have ended.
        statements: likewise.
        early_releases: likewise.
        held: nanoseconds for which the connections of these checkouts were held.
        idle: nanoseconds of these in which the driver did nothing.
        is_unknown: whether the outcome of a transaction is not known.

    """

    __slots__ = (
        "__weakref__",
        "_number",
        "_variables",
        "checkouts",
        "early_releases",
        "failed",
        "held",
        "idle",
        "is_unknown",
        "record",
        "reference",
        "retries",
        "statements",
        "task",
        "transactions",
    )

    def __init__(
        self, record: ContextRecord | None, task: "asyncio.Task[Any] | None", variables: Context | None = None
    ) -> None:
        self.record = record
        self.task = task
        self._variables = variables
        self.reference: ref[OpenSession] | None = None
        self.checkouts: list[Checkout] = []
        self.failed: Sequence[FailedCheckout] = ()
        self.retries = 0
        self.transactions = 0
        self.statements = 0
        self.early_releases = 0
        self.held = 0
        self.idle = 0
        self.is_unknown = False
        self._number = 0

    @property
    def number(self) -> int:
        """What the page calls the session. It is given when it is shown first."""
        if not self._number:
            self._number = next(_numbers)
        return self._number

    @property
    def trace(self) -> str | None:
        """The id of the trace that the session began in, or None if there is none or it is not known."""
        return None if self._variables is None else self._variables.run(current_trace)

    def ended(self, checkout: Checkout) -> None:
        """Count a checkout that has ended."""
        if len(self.checkouts) < MOST_CHECKOUTS:
            self.checkouts.append(checkout)
        held = checkout.released_at - checkout.taken_at
        self.held += held
        self.idle += max(held - checkout.busy, 0)
        self.transactions += len(checkout.transactions)
        self.statements += checkout.statements
        self.early_releases += checkout.is_early
        if checkout.error is not None:
            self.is_unknown = self.is_unknown or any(each.outcome == "unknown" for each in checkout.transactions)
