"""What has to hold after each run."""

import asyncio
from collections.abc import Iterable

from tests.proof.sweeping.stage import Stage, Unit
from tests.proof.sweeping.world import World

_SECONDS_TO_SETTLE = 3.0
_WHOLE_OR_NOT = "a unit is committed as a whole or not at all"


def judge_units(stage: Stage, rows: dict[str, int]) -> Iterable[str]:
    """Compare the rows of each unit with what its caller was told."""
    for unit in stage.units:
        found = rows.get(unit.name, 0)
        allowed, because = _allowed(stage, unit)
        if found not in allowed:
            told = unit.told if unit.error is None else f"{unit.told} by {type(unit.error).__name__}"
            yield f"{stage.short(unit)}: {found} of {unit.rows} rows after it was told {told}: {because}"
        if unit.told == "success" and unit.cancellation is not None:
            yield f"{stage.short(unit)}: was cancelled, and its caller never told of it"
        if unit.told == "failure" and not isinstance(unit.error, asyncio.CancelledError):
            yield f"{stage.short(unit)}: failed with {unit.error!r}, while nothing but a cancellation was due"
        if isinstance(unit.error, asyncio.CancelledError) and unit.cancellation is None and unit.is_watched:
            yield f"{stage.short(unit)}: was told of a cancellation that never was"


def _allowed(stage: Stage, unit: Unit) -> tuple[set[int], str]:
    """Return how many rows there may be, and why."""
    whole = unit.rows if stage.visible else 0
    if unit.told == "success":
        return {whole}, "a success is committed"
    if unit.told == "discarded":
        return {0}, "the caller has rolled it back"
    if unit.told in {"nothing", "gone"} or (isinstance(unit.error, asyncio.CancelledError) and not unit.is_watched):
        return {0, whole}, _WHOLE_OR_NOT
    if not isinstance(unit.error, asyncio.CancelledError):
        return {0}, "a failure is rolled back"
    return allowed_after_cancellation(stage, unit)


def allowed_after_cancellation(stage: Stage, unit: Unit) -> tuple[set[int], str]:
    """Return how many rows there may be of a unit that was cancelled, and why."""
    whole, cancellation = unit.rows if stage.visible else 0, unit.cancellation
    if cancellation is None:
        return {0}, "a failure is rolled back"
    if unit.name in cancellation.begun:
        return {whole}, "it was cancelled during its COMMIT, which runs to its end"
    statements = stage.tap.statements[unit.name]
    has_all_done = statements > 0 and cancellation.executed.get(unit.name) == statements
    # Where all was done but the COMMIT, a library whose COMMIT has a task of its own cannot take it back any more.
    # Where the COMMIT of another unit of the same block had begun, the library may go on with this one.
    if has_all_done or cancellation.begun:
        return {0, whole}, _WHOLE_OR_NOT
    return {0}, "it was cancelled before its COMMIT"


def judge_records(world: World, stage: Stage, rows: dict[str, int]) -> Iterable[str]:
    """Compare what the observer was told with what SQLAlchemy and the rows say."""
    heard, tap = world.recorder, world.tap
    if len(heard.checkouts) != tap.checkouts:
        yield f"the observer heard of {len(heard.checkouts)} ends of {tap.checkouts} checkouts"
    if len(heard.begun) != len(heard.contexts):
        yield f"the observer heard of {len(heard.contexts)} ends of {len(heard.begun)} contexts"
    if not stage.visible:
        return
    committed = sum(rows.get(unit.name, 0) > 0 for unit in stage.units)
    told, unknown = heard.transactions.count("commit"), heard.transactions.count("unknown")
    if told > committed + tap.read_only_commits:
        yield (
            f"the observer heard of {told} commits; there were {committed} with rows and at most "
            f"{tap.read_only_commits} without ({heard.transactions})"
        )
    if told + unknown < committed:
        yield f"the observer heard of {told} commits (and {unknown} unknown) where there were {committed}"


async def judge_remains(world: World, tasks: set[asyncio.Task[object]]) -> list[str]:
    """Wait until nothing of the run is left, and tell what still is after some seconds.

    Args:
        world: after the run.
        tasks: those from before it.

    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SECONDS_TO_SETTLE
    while remains := _remains(world, tasks):
        if loop.time() > deadline:
            return remains
        await asyncio.sleep(0.001)
    return []


def _remains(world: World, tasks: set[asyncio.Task[object]]) -> list[str]:
    remains: list[str] = []
    if left := asyncio.all_tasks() - tasks:
        remains.append(f"{len(left)} task(s) are left: {next(iter(left))!r}")
    for count, of_what in (
        (world.in_use(), "connection(s) are out of their pool"),
        (world.open_contexts(), "context(s) are open"),
        (world.pending(), "request(s) wait for a connection"),
    ):
        if count:
            remains.append(f"{count} {of_what}")
    if not remains and (busy := world.witness.busy_backends()):
        remains.append(f"{busy} server process(es) are active or idle in transaction")
    return remains


async def judge_next(world: World, stage: Stage) -> list[str]:
    """Require that another unit of work succeeds on each connection."""
    unit = f"{stage.schedule}next/"
    try:
        await world.use(unit)
    except Exception as error:  # noqa: BLE001 - the violation
        return [f"the next unit of work failed: {error!r}"]
    found = world.witness.rows_of(unit)
    return [] if len(found) == len(world.connections) else [f"the next unit of work wrote {found}"]
