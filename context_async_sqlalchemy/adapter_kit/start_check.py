"""The check at the start: each connection is opened once, before the first request."""

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from context_async_sqlalchemy._engine_creation import address_of
from context_async_sqlalchemy.connect import DBConnect
from context_async_sqlalchemy.exceptions import StartCheckError

from .budget import PoolOfServer, overdrafts, processes_of_environment, read_pool

logger = logging.getLogger("context_async_sqlalchemy")

CONNECT_TIMEOUT = 10.0
"""Seconds that each connection may take to open. Drivers wait for a silent server for a minute, or for ever."""

# PostgreSQL's SQLSTATEs of a connect that fails, with what to do.
_PROBLEMS = {
    "28P01": "the server refuses the password; correct the user or the password",
    "28000": "the server refuses the user; correct the user, or allow it in pg_hba.conf",
    "3D000": "the server does not have this database; create it, or correct its name",
    "53300": "the server, the role or the database has no connection left; raise the limit, or make the pools smaller",
    "57P03": "the server is starting or stopping; start the application later",
}


async def check_connections(connections: Sequence[DBConnect], processes: int | None) -> None:
    """Open each connection once. Warn if the pools may open more connections than the servers allow.

    Args:
        connections: the connections of one application.
        processes: the number of processes that run it, if it is known.

    Raises:
        StartCheckError: a connection cannot be opened.

    """
    answers = await asyncio.gather(*map(_open, connections), return_exceptions=True)
    failures = [
        (connection, answer)
        for connection, answer in zip(connections, answers, strict=True)
        if isinstance(answer, BaseException)
    ]
    for _, error in failures:
        if not isinstance(error, Exception):
            raise error
    if failures:
        raise StartCheckError([_problem(*failure) for failure in failures]) from failures[0][1]
    pools = [answer for answer in answers if isinstance(answer, PoolOfServer)]
    for overdraft in overdrafts(pools, processes or processes_of_environment()):
        logger.warning("%s", overdraft)


async def _open(connection: DBConnect) -> PoolOfServer | None:
    async with asyncio.timeout(CONNECT_TIMEOUT):
        await connection.session_maker()
        engine = connection.engine
        if engine is None:
            # A test has replaced the session maker.
            return None
        async with engine.connect() as opened:
            await opened.execute(select(1))
            if engine.dialect.name != "postgresql":
                return None
            try:
                return await read_pool(connection.name, opened)
            except SQLAlchemyError as error:
                logger.info("the limits of connection %r cannot be read: %s", connection.name, error)
                return None


def _problem(connection: DBConnect, error: BaseException) -> str:
    url = _url_of(connection)
    # The parts are named, because the query of the URL may have secrets.
    place = "" if url is None else f" (user {url.username!r}, host {address_of(url)!r}, database {url.database!r})"
    return f"connection {connection.name!r}{place} cannot be opened: {_reason(error)}{_text(url, error)}"


def _url_of(connection: DBConnect) -> URL | None:
    return None if connection.engine is None else connection.engine.url


def _reason(error: BaseException) -> str:
    sqlstate = _sqlstate_of(error)
    if sqlstate in _PROBLEMS:
        return _PROBLEMS[sqlstate]
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT:g} s; correct the host, or look for a firewall in between"
    if isinstance(error, OSError):
        return "nothing answers there; start the database, or correct the host and the port"
    if isinstance(error, TypeError):
        return "the driver refuses an option; correct connect_args or the query of the URL"
    return "correct the URL and the options of this connection, or start its database"


def _text(url: URL | None, error: BaseException) -> str:
    """Return the driver's own words, without the secrets of the URL."""
    text = " ".join(str(error).split())
    if url is not None:
        for secret in filter(None, [url.password, *url.normalized_query.get("password", ())]):
            text = text.replace(str(secret), "***")
    return f" [{type(error).__name__}{': ' if text else ''}{text}]"


def _sqlstate_of(error: BaseException) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        sqlstate: object = getattr(getattr(cause, "orig", cause), "sqlstate", None)
        if isinstance(sqlstate, str):
            return sqlstate
        cause = cause.__cause__
    return None
