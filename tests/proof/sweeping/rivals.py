"""Rival implementations of a unit of work: one that is right, and others with one bug each, which a sweep must find.

They use SQLAlchemy alone.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from tests.proof.sweeping.stage import Stage

_kept: list[object] = []
"""What a rival forgets must not be saved by its last reference."""


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Run work in a task of its own, which a cancellation of the caller leaves alone."""
    task = asyncio.create_task(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancellation = cancellation or error
    if cancellation is not None:
        raise cancellation from task.exception()
    task.result()


async def _session(stage: Stage) -> AsyncSession:
    session = (await stage.connection.session_maker())()
    _kept.append(session)
    session.add_all([stage.row("unit", 1), stage.row("unit", 2)])
    return session


async def _write(session: AsyncSession) -> None:
    await session.flush()
    # Something else that the work waits for, with a connection in its hands.
    await asyncio.sleep(0)


async def _close(session: AsyncSession) -> None:
    try:
        await session.close()
    except DBAPIError:
        # The connection is lost, and its ROLLBACK has failed: what is to be told is the reason, or the cancellation.
        await session.invalidate()


async def right(stage: Stage) -> None:
    """Flush, protect the COMMIT, close."""
    with stage.told("unit"):
        session = await _session(stage)
        try:
            await _write(session)
            await _to_its_end(session.commit())
        finally:
            await _to_its_end(_close(session))


async def answers_before_commit(stage: Stage) -> None:
    """Let the COMMIT follow when the caller has been told of the success."""
    with stage.told("unit"):
        session = await _session(stage)
        try:
            await _write(session)
        except BaseException:
            await _to_its_end(_close(session))
            raise
        _kept.append(asyncio.create_task(_commit_and_close(session)))


async def _commit_and_close(session: AsyncSession) -> None:
    try:
        await session.commit()
    finally:
        await _close(session)


async def leaves_commit_unprotected(stage: Stage) -> None:
    """Let a cancellation interrupt the COMMIT."""
    with stage.told("unit"):
        session = await _session(stage)
        try:
            await _write(session)
            await session.commit()
        finally:
            await _to_its_end(_close(session))


async def closes_on_errors_only(stage: Stage) -> None:
    """Forget that a cancellation is no Exception."""
    with stage.told("unit"):
        session = await _session(stage)
        try:
            await _write(session)
            await _to_its_end(session.commit())
        except Exception:
            await _to_its_end(_close(session))
            raise
        await _to_its_end(_close(session))


async def swallows_errors(stage: Stage) -> None:
    """Say nothing of what went wrong."""
    with stage.told("unit"):
        session = await _session(stage)
        try:
            await _write(session)
            await _to_its_end(session.commit())
        except BaseException:  # noqa: BLE001, S110 - the bug
            pass
        finally:
            await _to_its_end(_close(session))


async def loses_a_place(stage: Stage) -> None:
    """Take a connection in a task of its own, which nobody waits for after a cancellation."""

    async def take() -> AsyncConnection:
        assert stage.connection.engine is not None
        return await stage.connection.engine.connect()

    with stage.told():
        taking = asyncio.create_task(take())
        _kept.append(taking)
        connection = await asyncio.shield(taking)
        await _to_its_end(connection.close())
