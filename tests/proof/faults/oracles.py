"""What has to hold after a fault."""

import asyncio
from collections.abc import Iterable

from sqlalchemy.exc import DBAPIError

from context_async_sqlalchemy import CommitTimeoutError, PartialCommitError
from tests.proof.faults.faults import Fault
from tests.proof.sweeping.oracles import allowed_after_cancellation
from tests.proof.sweeping.play import Ending
from tests.proof.sweeping.stage import Stage, Unit


def judge(ending: Ending, fault: Fault | None, *, is_cancelled: bool) -> Iterable[str]:
    """Find the violations of a run.

    Args:
        ending: of the run.
        fault: that was planted.
        is_cancelled: whether the caller was cancelled too.

    """
    stage = ending.stage
    for unit in stage.units:
        for violation in _judge(stage, unit, ending.rows.get(unit.name, 0), fault):
            yield f"{stage.short(unit)}: {violation}"
        if not is_cancelled:
            yield from _judge_uncancelled(stage, unit, fault)


def _judge(stage: Stage, unit: Unit, found: int, fault: Fault | None) -> Iterable[str]:
    if unit.cancellation is not None:
        if unit.told == "success":
            yield "was cancelled, and its caller never told of it"
        if unit.told == "failure" and not isinstance(unit.error, asyncio.CancelledError):
            yield f"was cancelled, and told of {unit.error!r} instead"
    elif unit.is_watched and isinstance(unit.error, asyncio.CancelledError):
        yield "was told of a cancellation that never was"
    if found not in _allowed(stage, unit, fault):
        yield f"{found} of {unit.rows} rows after it was told {unit.told} ({unit.error!r})"


def _allowed(stage: Stage, unit: Unit, fault: Fault | None) -> set[int]:
    """Return how many rows there may be."""
    whole = unit.rows if stage.visible else 0
    if unit.told == "success":
        return {whole}
    if unit.told == "discarded":
        return {0}
    if unit.told == "nothing" or (isinstance(unit.error, asyncio.CancelledError) and not unit.is_watched):
        return {0, whole}
    if unit.cancellation is None or not isinstance(unit.error, asyncio.CancelledError):
        return _allowed_after_error(stage, unit, unit.error, whole)
    allowed, _ = allowed_after_cancellation(stage, unit)
    can_fail = unit.swallows or (fault is not None and fault.may_hit_commit)
    return allowed | {0} if can_fail and unit.name in stage.tap.begun else allowed


def _allowed_after_error(stage: Stage, unit: Unit, error: BaseException | None, whole: int) -> set[int]:
    if isinstance(error, PartialCommitError):
        if stage.short(unit) in error.committed:
            return {whole}
        return (
            {0} if stage.short(unit) in error.rolled_back else _allowed_after_error(stage, unit, error.__cause__, whole)
        )
    return {0, whole} if _says_unknown(error) else {0}


def _says_unknown(error: BaseException | None) -> bool:
    return isinstance(error, CommitTimeoutError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def _judge_uncancelled(stage: Stage, unit: Unit, fault: Fault | None) -> Iterable[str]:
    name, error = stage.short(unit), unit.error
    if unit.is_due and unit.told != "success":
        yield f"{name}: was due after the fault, and told {unit.told} ({error!r})"
    if unit.told != "failure" or unit.is_due:
        return
    if isinstance(error, PartialCommitError):
        error = error.__cause__
    if fault is None:
        yield f"{name}: failed by {error!r}, and nothing had been done to it"
    elif not unit.swallows and not isinstance(error, fault.expected):
        yield f"{name}: failed by {error!r}, which is not what {fault.name} brings"
    is_its_own = not any(other.error is unit.error for other in stage.units if other is not unit)
    if isinstance(error, CommitTimeoutError) and is_its_own and unit.name not in stage.tap.begun:
        yield f"{name}: its outcome is said to be unknown, and its COMMIT had never begun"
