"""Naive calls, each with a bug that the machine must find."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import (
    DBConnect,
    commit_db_session,
    db_session,
    get_db_session_from_context,
    rollback_all_sessions,
)
from context_async_sqlalchemy import atomic_db_session as library_atomic_db_session
from context_async_sqlalchemy.adapter_kit import current_context
from tests.proof.model.api import Api

_answered: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def _atomic_without_rollback(connection: DBConnect, mode: str) -> AsyncGenerator[AsyncSession]:
    if mode in ("commit", "append"):
        session = await db_session(connection)
        if mode == "commit":
            await commit_db_session(connection)
        if not session.in_transaction():
            await session.begin()
        yield session
        await commit_db_session(connection)
    else:
        async with library_atomic_db_session(connection, mode) as session:  # type: ignore[arg-type]
            yield session


async def _commit_only_the_first() -> None:
    context = current_context()
    if context.rollback_only:
        await rollback_all_sessions()
        return
    for connection, _ in context.transactions():
        if isinstance(connection, DBConnect):
            await commit_db_session(connection)
            return


async def _commit_after_the_answer(connection: DBConnect) -> None:
    if session := get_db_session_from_context(connection):
        task = asyncio.create_task(session.commit())
        _answered.add(task)
        task.add_done_callback(_forget)


def _forget(task: "asyncio.Task[None]") -> None:
    _answered.discard(task)
    task.exception()  # Retrieved, so that asyncio does not log it.


async def _commit_and_swallow(connection: DBConnect) -> None:
    if session := get_db_session_from_context(connection):
        try:
            await session.commit()
        except SQLAlchemyError:
            await session.rollback()


async def _forget_to_close(connection: DBConnect) -> None:
    if session := get_db_session_from_context(connection):
        session.expunge_all()


class AtomicWithoutRollback(Api):
    """An error leaves the block's transaction open."""

    atomic_db_session = staticmethod(_atomic_without_rollback)


class CommitOfTheFirst(Api):
    """The second session is forgotten."""

    commit_all_sessions = staticmethod(_commit_only_the_first)


class AnswerBeforeCommit(Api):
    """The caller is told success before COMMIT is sent."""

    commit_db_session = staticmethod(_commit_after_the_answer)


class SwallowedError(Api):
    """A failed COMMIT is told as a success."""

    commit_db_session = staticmethod(_commit_and_swallow)


class LeakedConnection(Api):
    """A session that is closed keeps its connection."""

    close_db_session = staticmethod(_forget_to_close)
