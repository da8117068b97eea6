"""Failover: before a session is made, find which of several hosts takes writes, and move the connection there.

See docs/hosts.md.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from context_async_sqlalchemy import DBConnect

# PostgreSQL: shutting down, crashed, starting up; and a host that was the primary until now.
_PASSING_SQLSTATES = {"57P01", "57P02", "57P03", "25006"}


class NoWritableHostError(ConnectionError):
    """None of the hosts takes writes now."""


class WritableHost:
    """A ``before_create_session_handler`` that has a DBConnect use the host that takes writes.

    Args:
        url: how to log in, with asyncpg or psycopg; its host does not matter.
        hosts: where the database may be, each as ``"host:port"``.
        check_every: seconds after which a new session has the host in use asked again, which costs it a connect.
        timeout: seconds that a host has to answer.

    """

    def __init__(self, url: str, hosts: Sequence[str], *, check_every: float = 1.0, timeout: float = 1.0) -> None:
        self._engines = {host: _asking(url, host) for host in hosts}
        self._check_every = check_every
        self._timeout = timeout
        self._trusted_until = 0.0
        self._search: asyncio.Task[None] | None = None

    async def __call__(self, connect: DBConnect) -> None:
        """Make sure that the connection's host takes writes, or did a moment ago.

        Raises:
            NoWritableHostError: no host does.

        """
        if monotonic() < self._trusted_until:
            return
        # One search for all who ask meanwhile; it goes on if the one who began it is cancelled.
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._find(connect))
        await asyncio.shield(self._search)

    async def _find(self, connect: DBConnect) -> None:
        # The one in use first: an old primary that comes back may believe that it still is one.
        hosts = sorted(self._engines, key=lambda host: host != connect.host)
        refusals: dict[str, str] = {}
        for some in (hosts[:1], hosts[1:]):
            for answer in asyncio.as_completed([self._refusal(host) for host in some]):
                host, refusals[host] = await answer
                if not refusals[host]:
                    self._trusted_until = monotonic() + self._check_every
                    # Nothing if it is in use. Else it is at once, and then the old host's connections are closed.
                    await connect.change_host(host)
                    return
        reasons = "; ".join(f"{host}: {refusal}" for host, refusal in refusals.items())
        raise NoWritableHostError(f"no host takes writes now ({reasons})")

    async def _refusal(self, host: str) -> tuple[str, str]:
        """Ask a host; return why it cannot be used, or nothing if it takes writes."""
        asking = asyncio.create_task(_connect_to(self._engines[host]))
        await asyncio.wait([asking], timeout=self._timeout)
        if not asking.done():
            asking.cancel()
            return host, f"no answer within {self._timeout:g} s"
        error = asking.exception()
        return host, "" if error is None else str(error).partition("\n")[0] or type(error).__name__


def is_passing(error: BaseException) -> bool:
    """Tell whether an error is one of a failover: to be answered by a 503, not by a 500.

    Args:
        error: what a request failed with. A connection that is refused is an OSError: SQLAlchemy does not wrap it.

    """
    if isinstance(error, OSError):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_lost or getattr(cause, "sqlstate", None) in _PASSING_SQLSTATES


def _asking(url: str, address: str) -> AsyncEngine:
    host, _, port = address.partition(":")
    of_host = make_url(url).set(host=host, port=int(port) if port else None)
    # The driver itself refuses a host that is a replica, or read-only.
    return create_async_engine(of_host, poolclass=NullPool, connect_args={"target_session_attrs": "read-write"})


async def _connect_to(engine: AsyncEngine) -> None:
    async with engine.connect():
        pass
