"""The connections that the pools of an application may open, compared with those that a PostgreSQL server allows."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import QueuePool

from context_async_sqlalchemy._observing import pool_state

from .server_command import workers_of_command

_LIMITS = text(
    """
    SELECT
        pg_backend_pid() AS process_id,
        concat(extract(epoch FROM pg_postmaster_start_time()), ' ', current_setting('port')) AS server,
        session_user::text AS role,
        current_database()::text AS database,
        current_setting('max_connections')::int AS max_connections,
        current_setting('superuser_reserved_connections')::int AS for_superusers,
        coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
        r.rolsuper AS is_superuser,
        EXISTS (
            SELECT FROM pg_roles WHERE rolname = 'pg_use_reserved_connections'
                AND pg_has_role(session_user, oid, 'USAGE')
        ) AS may_use_reserved,
        r.rolconnlimit AS role_limit,
        d.datconnlimit AS database_limit
    FROM pg_roles r, pg_database d
    WHERE r.rolname = session_user AND d.datname = current_database()
    """
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server answers to ``_LIMITS``. A limit of a role or of a database is -1 if there is none."""

    process_id: int
    server: str
    role: str
    database: str
    max_connections: int
    for_superusers: int
    reserved: int
    is_superuser: bool
    may_use_reserved: bool
    role_limit: int
    database_limit: int


@dataclass(frozen=True, slots=True)
class PoolOfServer:
    """A pool, and the limits of its server.

    Attributes:
        name: the name of the connection.
        address: the host and the port.
        size: the connections that the pool keeps.
        overflow: the connections that it may open beyond.
        limits: the limits of the server for this pool.

    """

    name: str
    address: str
    size: int
    overflow: int
    limits: Limits


class _Bound(NamedTuple):
    """One limit, with its sentence.

    Attributes:
        key: equal for the pools that share the limit.
        what: whose limit it is.
        room: the number of connections.
        terms: how the number comes about.

    """

    key: tuple[str, ...]
    what: str
    room: int
    terms: str


async def read_pool(name: str, connection: AsyncConnection) -> PoolOfServer | None:
    """Return a pool and the limits of its server, or None if they cannot be compared.

    A pool without a bound cannot be compared, nor one whose connections end at a pooler such as PgBouncer. There the
    process that the driver was told of is not the process that answers.

    Args:
        name: the name of the pool.
        connection: an open connection of the pool.

    """
    pool = connection.sync_engine.pool
    most = pool_state.read_pool(pool, used=0, pending=0).maximum
    if most is None or not isinstance(pool, QueuePool):
        return None
    limits = Limits(*(await connection.execute(_LIMITS)).one())
    driver_connection = (await connection.get_raw_connection()).driver_connection
    if _process_of(driver_connection) != limits.process_id:
        return None
    url = connection.sync_engine.url
    address = f"{url.host or 'localhost'}:{url.port or 5432}"
    return PoolOfServer(name, address, pool.size(), most - pool.size(), limits)


def processes_of_environment() -> int:
    """Return the number of workers by the server's command, or else by ``WEB_CONCURRENCY``, which platforms set."""
    workers = workers_of_command()
    given = os.environ.get("WEB_CONCURRENCY", "")
    return workers if workers > 1 or not given.isdecimal() else max(1, int(given))


def overdrafts(pools: Iterable[PoolOfServer], processes: int) -> Iterator[str]:
    """Yield a sentence with the arithmetic for each limit that the pools of all processes may exceed.

    Args:
        pools: the pools of one process.
        processes: the number of processes.

    """
    sharing: dict[tuple[str, ...], tuple[_Bound, list[PoolOfServer]]] = {}
    for pool in pools:
        for bound in _bounds_of(pool):
            sharing.setdefault(bound.key, (bound, []))[1].append(pool)
    for bound, group in sharing.values():
        most = processes * sum(pool.size + pool.overflow for pool in group)
        if most > bound.room:
            sizes = ", ".join(f"{pool.name!r} {pool.size} + {pool.overflow} overflow" for pool in group)
            yield (
                f"the pools may open more connections than {bound.what} allows: {processes} "
                f"process{'es' * (processes > 1)} x ({sizes}) = {most}, and there are {bound.room} ({bound.terms}), "
                "also for other clients. Make the pools smaller (pool_size, max_overflow), run fewer processes, or "
                "raise the limit. setup_db(processes=...) corrects the number of processes"
            )


def _bounds_of(pool: PoolOfServer) -> Iterator[_Bound]:
    limits = pool.limits
    room, terms = limits.max_connections, f"max_connections {limits.max_connections}"
    if not limits.is_superuser:
        room -= limits.for_superusers
        terms += f" - {limits.for_superusers} for superusers"
        if limits.reserved and not limits.may_use_reserved:
            room -= limits.reserved
            terms += f" - {limits.reserved} reserved"
    yield _Bound((limits.server,), f"the server {pool.address}", room, terms)
    if limits.is_superuser:
        return
    for kind, name, limit in (
        ("role", limits.role, limits.role_limit),
        ("database", limits.database, limits.database_limit),
    ):
        if limit >= 0:
            what = f"the {kind} {name!r} of the server {pool.address}"
            yield _Bound((limits.server, kind, name), what, limit, "its CONNECTION LIMIT")


def _process_of(driver_connection: Any) -> int | None:
    """Return the process id that the server told the driver, for asyncpg and psycopg."""
    if hasattr(driver_connection, "get_server_pid"):
        return int(driver_connection.get_server_pid())
    return getattr(getattr(driver_connection, "info", None), "backend_pid", None)
