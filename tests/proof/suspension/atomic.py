"""``atomic_db_session`` in each of its modes."""

from sqlalchemy.exc import InvalidRequestError

from context_async_sqlalchemy import atomic_db_session, commit_db_session, db_context
from context_async_sqlalchemy.session import CurrentTransaction
from tests.proof.sweeping.stage import Stage, Telling


async def _atomic(stage: Stage, mode: CurrentTransaction, told: Telling) -> None:
    async with db_context():
        await stage.write("before", 1, 2)
        async with atomic_db_session(stage.connection, mode):
            if mode == "commit":
                told.success("before")
            elif mode == "rollback":
                told.discarded("before")
            await stage.write("block", 1)
            await stage.add("block", 2)
        told.success("block")


async def atomic_commits(stage: Stage) -> None:
    """Commit what is open before the block."""
    with stage.told("before", "block") as told:
        await _atomic(stage, "commit", told)


async def atomic_rolls_back(stage: Stage) -> None:
    """Roll back what is open before the block."""
    with stage.told("before", "block") as told:
        await _atomic(stage, "rollback", told)


async def atomic_appends(stage: Stage) -> None:
    """Commit what is open together with the block."""
    with stage.told("unit"):
        async with db_context():
            await stage.write("unit", 1)
            async with atomic_db_session(stage.connection, "append"):
                await stage.add("unit", 2)


async def atomic_refuses(stage: Stage) -> None:
    """Refuse the block where something is open, and run it where nothing is."""
    with stage.told("before", "block") as told:
        async with db_context():
            await stage.write("before", 1, 2)
            try:
                async with atomic_db_session(stage.connection, "raise"):
                    raise AssertionError("the block runs in an open transaction")
            except InvalidRequestError:
                await commit_db_session(stage.connection)
                told.success("before")
            async with atomic_db_session(stage.connection, "raise"):
                await stage.write("block", 1, 2)
            told.success("block")
