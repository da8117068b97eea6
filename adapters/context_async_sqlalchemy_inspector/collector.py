"""What the inspector keeps of this process, and for how long."""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from contextvars import copy_context
from typing import Any
from weakref import ref

from context_async_sqlalchemy.observer import (
    Checkout,
    ContextRecord,
    EarlyRelease,
    FailedCheckout,
    LivePool,
    LiveWait,
    ObservedPool,
)

from .buckets import BUCKETS, WIDTH, Buckets, PoolSum, RouteSum
from .finished import FinishedSessions
from .pools import PoolView
from .session import MOST_CHECKOUTS, OpenSession

_NANOSECOND = 1e-9
_PATIENCE = 10_000_000_000
"""Nanoseconds after a look in which the sums are kept up to date, because the next look is near."""


class Others:
    """The connections and the waits that belong to no known session. The page shows each as one."""

    def __init__(self) -> None:
        self._sessions: dict[object, OpenSession] = {}

    def session_of(self, subject: object, record: ContextRecord | None) -> OpenSession:
        """Return the session that stands for a checkout or a wait."""
        found = self._sessions.get(subject)
        if found is None:
            task = subject.task if isinstance(subject, LiveWait) else None
            found = self._sessions[subject] = OpenSession(record, task)
        return found

    def keep_only(self, present: Collection[object]) -> None:
        """Forget those that have ended."""
        for subject in [each for each in self._sessions if each not in present]:
            del self._sessions[subject]


class Collector:
    """Follows the open sessions, and sums up what they did while a visitor looks.

    Args:
        kept: how many finished sessions are kept.
        slow: seconds from which a session counts as slow.

    Attributes:
        others: see the class.
        pools: the pools that are observed, each with how it is shown.
        finished: the finished sessions that are kept.
        looked_at_until: the instant at which the sums are no longer kept up to date.

    """

    def __init__(self, kept: int, slow: float) -> None:
        # The records keep the sessions, so that nothing here keeps a context alive.
        self._open: set[ref[OpenSession]] = set()
        self._forget = self._open.discard
        self.others = Others()
        self.pools: dict[ObservedPool, PoolView] = {}
        self.finished = FinishedSessions(kept, slow)
        self.looked_at_until = 0
        self._collecting_since = 0
        self._routes = Buckets(RouteSum)
        self._of_pools = Buckets(PoolSum)

    def looked(self, now: int) -> None:
        """Record that a visitor looks. After a pause the sums begin anew."""
        if now > self.looked_at_until:
            self._collecting_since = now
            self._routes.clear()
            self._of_pools.clear()
        self.looked_at_until = now + _PATIENCE

    def open_sessions(self) -> list[OpenSession]:
        """Return the open sessions. A context that is dropped without an end has dropped its session too."""
        return [session for reference in list(self._open) if (session := reference()) is not None]

    def window(self, now: int) -> float:
        """Return the seconds that the sums are of."""
        return min(now - self._collecting_since, BUCKETS * WIDTH) * _NANOSECOND

    def pool_observed(self, pool: ObservedPool) -> None:
        """Show a pool from now on."""
        if isinstance(pool, LivePool):
            self.pools[pool] = PoolView(pool)

    def pool_forgotten(self, pool: ObservedPool) -> None:
        """Show a pool no longer."""
        self.pools.pop(pool, None)

    def began(self, record: ContextRecord) -> None:
        """Follow a session."""
        session = record.notes[self] = OpenSession(record, asyncio.current_task(), copy_context())
        # Not a WeakSet, because its methods cost three times as much, and each request would pay.
        reference = session.reference = ref(session, self._forget)
        self._open.add(reference)

    def checkout_ended(self, checkout: Checkout) -> None:
        """Count a checkout for its session, and for the sums if a visitor looks."""
        record = checkout.context
        if record is not None:
            session = record.notes.get(self)
            if session is not None:
                session.ended(checkout)
        if checkout.released_at < self.looked_at_until:
            self._sum_up(checkout)

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Keep a failed wait for its session."""
        session = None if failure.context is None else failure.context.notes.get(self)
        if session is not None and len(session.failed) < MOST_CHECKOUTS:
            session.failed = (*session.failed, failure)

    def retried(self, record: ContextRecord) -> None:
        """Count a retry for its session."""
        session = record.notes.get(self)
        if session is None:
            self.finished.retried(record)
        else:
            session.retries += 1

    def ended(self, record: ContextRecord) -> None:
        """Follow a session no longer. Keep it if it is worth a look."""
        session: OpenSession | None = record.notes.pop(self, None)
        if session is None:
            return
        if session.reference is not None:
            self._open.discard(session.reference)
        ended_at = record.ended_at
        if (
            record.outcome != "commit"
            or ended_at - record.began_at >= self.finished.slow
            or session.retries
            or session.is_unknown
            or session.failed
        ):
            self.finished.consider(session, record)
        if ended_at < self.looked_at_until:
            self._routes.at(ended_at, record.route).sessions += 1

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Sum up what was given back, if a visitor looks."""
        if release.ended_at >= self.looked_at_until:
            return
        view = self.pools.get(release.checkout.pool)
        if view is not None:
            began_at = max(release.checkout.released_at, self._collecting_since)
            total = self._of_pools.at(release.ended_at, view.key)
            total.given_back += max(release.ended_at - began_at, 0)

    def seen_idle(self, route: str, line: str, now: int) -> None:
        """Count a line at which a session holds a connection idle."""
        self._routes.at(now, route).seen_at(line)

    def session_of(self, subject: Checkout | LiveWait) -> OpenSession:
        """Return the session that a checkout or a wait belongs to."""
        record = subject.context
        known = None if record is None else record.notes.get(self)
        return self.others.session_of(subject, record) if known is None else known

    def route_totals(self, now: int) -> dict[str, RouteSum]:
        """Return the sums of the last five minutes by route."""
        totals: defaultdict[str, RouteSum] = defaultdict(RouteSum)
        for route, part in self._routes.recent(now):
            totals[route].add(part)
        return totals

    def pool_totals(self, now: int) -> defaultdict[str, PoolSum]:
        """Return the sums of the last five minutes by the keys of the pools."""
        totals: defaultdict[str, PoolSum] = defaultdict(PoolSum)
        for pool, part in self._of_pools.recent(now):
            totals[pool].add(part)
        return totals

    def _sum_up(self, checkout: Checkout) -> None:
        # A part of the hold may lie before the first look.
        held = checkout.released_at - max(checkout.taken_at, self._collecting_since)
        idle = min(max(checkout.released_at - checkout.taken_at - checkout.busy, 0), held)
        view = self.pools.get(checkout.pool)
        if view is not None:
            total = self._of_pools.at(checkout.released_at, view.key)
            total.checkouts += 1
            total.held += held
            total.idle += idle
        route: Any = self._routes.at(checkout.released_at, checkout.route)
        route.held += held
        route.idle += idle
        route.early_releases += checkout.is_early
