"""The attributes that describe a pool, a server and an error.

The names are those of OpenTelemetry's semantic conventions 1.44 (docs/db and docs/general). Names for sessions and
transactions are ours, because the conventions have none.
"""

from collections.abc import Mapping
from functools import lru_cache

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from context_async_sqlalchemy import CommitTimeoutError, PartialCommitError
from context_async_sqlalchemy.observer import ObservedPool

POOL_NAME = "db.client.connection.pool.name"
POOL_STATE = "db.client.connection.state"
ERROR_TYPE = "error.type"

_SYSTEM = "db.system.name"
_NAMESPACE = "db.namespace"
_SERVER_ADDRESS = "server.address"
_SERVER_PORT = "server.port"
_SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}
"""OpenTelemetry's names of the dialects that SQLAlchemy names differently."""

_SPEAKS_FOR_ITSELF = (CommitTimeoutError, PartialCommitError, PoolTimeoutError, OSError)
"""Errors whose message may be recorded: unlike a driver's message, it quotes neither SQL text nor values."""


def pool_attributes(pool: ObservedPool) -> Mapping[str, str | int]:
    """Return the attributes of a pool and its database, for a span."""
    return _described(pool.name, pool.system, pool.database, pool.server_address, pool.server_port)


# Cached, because every session's span has these attributes, and they change only with the pool's server.
@lru_cache(maxsize=64)
def _described(
    name: str, system: str, database: str | None, server_address: str | None, server_port: int | None
) -> Mapping[str, str | int]:
    attributes: dict[str, str | int] = {POOL_NAME: name, _SYSTEM: _SYSTEMS.get(system, system)}
    if database is not None:
        attributes[_NAMESPACE] = database
    return attributes | _server(server_address, server_port)


def server_attributes(pool: ObservedPool) -> dict[str, str | int]:
    """Return the attributes of the server of a pool; none if its address is not known."""
    return _server(pool.server_address, pool.server_port)


def _server(address: str | None, port: int | None) -> dict[str, str | int]:
    if address is None:
        return {}
    # The conventions want a port only beside its address.
    return {_SERVER_ADDRESS: address} if port is None else {_SERVER_ADDRESS: address, _SERVER_PORT: port}


def error_type(error: BaseException) -> str:
    """Return the SQLSTATE of the driver's error, or the qualified name of the error's class if it has none."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    sqlstate: object = getattr(cause, "sqlstate", None)
    return sqlstate if isinstance(sqlstate, str) and sqlstate else class_name(cause)


def class_name(error: BaseException) -> str:
    """Return the qualified name of an error's class, as OpenTelemetry writes it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message(error: BaseException) -> str | None:
    """Return the message of an error with its notes, or None if the message may quote SQL text or values.

    The notes of a pool's time-out name the holders of the pool's connections.
    """
    if not isinstance(error, _SPEAKS_FOR_ITSELF):
        return None
    return "\n".join((str(error), *getattr(error, "__notes__", ()))) or None
