"""Which server may answer a client that has written: a replica that has replayed its writes, else the primary."""

import asyncio
from time import monotonic

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, commit_db_session, db_session, rollback_db_session

COOKIE = "wal_position"
MAX_AGE = 60
"""Seconds for which the cookie is kept: longer than a replica lags behind."""

# Positions as numbers: "0/16B3748", as PostgreSQL writes them, would be quoted in a cookie. The position of insertion:
# with synchronous_commit=off the one that is written may be older than the COMMIT.
POSITION = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
_HAS_REPLAYED = text(
    "SELECT NOT pg_is_in_recovery() OR pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint >= :position"
).bindparams(bindparam("position", type_=BigInteger))
_LARGEST = 2**63 - 1
_PAUSE = 0.01


class ReadYourWrites:
    """A primary and a replica of it.

    Args:
        primary: where is written.
        replica: one server, not several behind one address: what one has replayed says nothing about the others.
        within: seconds that a read waits for the replica before it goes to the primary.

    """

    def __init__(self, primary: DBConnect, replica: DBConnect, *, within: float = 0.2) -> None:
        self.primary = primary
        self.replica = replica
        self._within = within

    async def commit(self) -> str:
        """Commit what was written; return the value of the cookie.

        The position is asked for after the COMMIT: a replica shows the rows once it has replayed the record of the
        COMMIT itself, which is not written before.
        """
        await commit_db_session(self.primary)
        session = await db_session(self.primary)
        position = await session.scalar(POSITION)
        await rollback_db_session(self.primary)  # gives the connection back
        return str(position)

    async def session(self, cookie: str | None) -> AsyncSession:
        """Return a session for reading: of the replica, or of the primary if the replica is too far behind.

        Args:
            cookie: what the client has sent, if anything.

        """
        position = _parsed(cookie)
        if position is not None and not await self._replica_reaches(position):
            return await db_session(self.primary)
        return await db_session(self.replica)

    async def _replica_reaches(self, position: int) -> bool:
        deadline = monotonic() + self._within
        while not await self._has_replayed(position):
            if monotonic() >= deadline:
                return False
            await asyncio.sleep(_PAUSE)
        return True

    async def _has_replayed(self, position: int) -> bool:
        session = await db_session(self.replica)
        answer = await session.scalar(_HAS_REPLAYED, {"position": position})
        # Nothing is held while waiting, and what is read later sees what has been replayed until then.
        await rollback_db_session(self.replica)
        return bool(answer)


def _parsed(cookie: str | None) -> int | None:
    """Read a cookie; one that a client has made up counts as none."""
    if cookie is None or not cookie.isascii() or not cookie.isdecimal() or len(cookie) > len(str(_LARGEST)):
        return None
    return min(int(cookie), _LARGEST)
