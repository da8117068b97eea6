"""The last sessions that were slow, failed, were rolled back or retried, or whose outcome is not known."""

from collections import deque
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

from context_async_sqlalchemy.observer import Checkout, ContextRecord

from .session import OpenSession

Json = dict[str, Any]

MOST_PARTS = 100
"""How many parts of a session are kept, the first ones."""

_OUTCOMES = {"commit": "committed", "rollback": "rolled_back", "failed": "failed", "unused": "unused"}
_NANOSECOND = 1e-9
_DIGITS = 6


class FinishedSessions:
    """The rings of these sessions. Each entry is plain data, so nothing of a request stays alive.

    Args:
        kept: how many sessions are kept. A third of them at most were only rolled back, because every answer of an
            error is, and these would push out the others.
        slow: seconds from the first checkout from which a session counts as slow.

    """

    def __init__(self, kept: int, slow: float) -> None:
        self.slow = int(slow / _NANOSECOND)
        rolled_back = kept // 3
        self._rolled_back: deque[Json] = deque(maxlen=rolled_back)
        self._others: deque[Json] = deque(maxlen=kept - rolled_back)
        self._newest: tuple[ContextRecord, Json] | None = None

    def consider(self, session: OpenSession, record: ContextRecord) -> None:
        """Keep a session that has ended, if there is a reason."""
        reasons = list(_reasons(session, record, self.slow))
        if reasons:
            entry = _entry(session, record, reasons)
            self._newest = record, entry
            (self._rolled_back if reasons == ["rolled back"] else self._others).append(entry)

    def retried(self, record: ContextRecord) -> None:
        """Add a reason to the newest entry: ``run_in_new_ctx`` runs a function again when its context has ended."""
        if self._newest is None or self._newest[0] is not record:
            return
        entry = self._newest[1]
        if entry["reasons"] == ["rolled back"]:
            # It is not there if so few sessions are kept that none of them may be one that was only rolled back.
            if self._rolled_back:
                self._rolled_back.pop()
            self._others.append(entry)
        entry["reasons"].append("retried")

    def state(self) -> Json:
        """Return the part of the state."""
        every = sorted(chain(self._rolled_back, self._others), key=lambda each: each["ended_at"], reverse=True)
        return {"kept": len(every), "shown": every}


def _reasons(session: OpenSession, record: ContextRecord, slow: int) -> Iterator[str]:
    if record.ended_at - record.began_at >= slow:
        yield "slow"
    if record.outcome == "failed" or any(failed.failure != "cancelled" for failed in session.failed):
        yield "failed"
    if record.outcome == "rollback" and not session.is_unknown:
        yield "rolled back"
    if session.retries:
        yield "retried"
    if session.is_unknown:
        yield "unknown"


def _entry(session: OpenSession, record: ContextRecord, reasons: list[str]) -> Json:
    return {
        "id": session.number,
        "route": record.route,
        "ended_at": round((record.ended_at + record.epoch_offset) * _NANOSECOND, _DIGITS),
        "duration": round((record.ended_at - record.began_at) * _NANOSECOND, _DIGITS),
        "outcome": "unknown" if session.is_unknown else _OUTCOMES[record.outcome],
        "reasons": reasons,
        "trace_id": session.trace,
        "transactions": session.transactions,
        "statements": session.statements,
        "parts": parts_of(session, record),
    }


def parts_of(session: OpenSession, record: ContextRecord) -> list[Json]:
    """Return what a session did with its connections, in the order of the begins.

    A hold consists of transactions and of idle parts, which leave no gap. The seconds within a transaction in which
    the driver did nothing are its ``idle``.
    """
    parts = [
        {
            "kind": kind,
            "pool": pool,
            "from": round((began - record.began_at) * _NANOSECOND, _DIGITS),
            "to": round((ended - record.began_at) * _NANOSECOND, _DIGITS),
            **({} if idle is None else {"idle": round(idle * _NANOSECOND, _DIGITS)}),
        }
        for kind, pool, began, ended, idle in sorted(_all_parts(session, record), key=lambda part: part[2])
    ]
    return parts[:MOST_PARTS]


def _all_parts(session: OpenSession, record: ContextRecord) -> Iterator[tuple[str, str, int, int, int | None]]:
    for failed in session.failed:
        yield "wait", failed.pool.name, failed.asked_at, failed.ended_at, None
    for checkout in session.checkouts:
        yield from _parts_of_checkout(checkout)
    by_pool: dict[str, list[Checkout]] = {}
    for checkout in sorted(session.checkouts, key=lambda each: each.taken_at):
        by_pool.setdefault(checkout.pool.name, []).append(checkout)
    for pool, checkouts in by_pool.items():
        for before, after in pairwise(checkouts):
            if before.is_early and before.released_at < after.taken_at:
                yield "early release", pool, before.released_at, after.taken_at, None
        if checkouts[-1].is_early:
            yield "early release", pool, checkouts[-1].released_at, record.ended_at, None


def _parts_of_checkout(checkout: Checkout) -> Iterator[tuple[str, str, int, int, int | None]]:
    pool = checkout.pool.name
    yield "wait", pool, checkout.asked_at, checkout.taken_at, None
    yield "hold", pool, checkout.taken_at, checkout.released_at, None
    free_since = checkout.taken_at
    for transaction in checkout.transactions:
        if transaction.started_at > free_since:
            yield "idle", pool, free_since, transaction.started_at, None
        idle = max(transaction.ended_at - transaction.started_at - transaction.busy, 0)
        yield "transaction", pool, transaction.started_at, transaction.ended_at, idle
        free_since = transaction.ended_at
    if checkout.released_at > free_since:
        yield "idle", pool, free_since, checkout.released_at, None
