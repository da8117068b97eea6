"""The names of attributes, OpenTelemetry's where it has one, and what describes a pool and an error.

Names: semantic conventions 1.44, docs/db and docs/general. Those of sessions and transactions are ours.
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
"""Where OpenTelemetry's name is not SQLAlchemy's."""

_SPEAKS_FOR_ITSELF = (CommitTimeoutError, PartialCommitError, PoolTimeoutError, OSError)
"""Errors whose message quotes neither SQL text nor values, as those of a database and its driver do."""


def pool_attributes(pool: ObservedPool) -> Mapping[str, str | int]:
    """Describe a pool and its database to a span."""
    return _described(pool.name, pool.system, pool.database, pool.server_address, pool.server_port)


# Of every session's span, and the same for as long as a pool leads to one server.
@lru_cache(maxsize=64)
def _described(
    name: str, system: str, database: str | None, server_address: str | None, server_port: int | None
) -> Mapping[str, str | int]:
    attributes: dict[str, str | int] = {POOL_NAME: name, _SYSTEM: _SYSTEMS.get(system, system)}
    if database is not None:
        attributes[_NAMESPACE] = database
    return attributes | _server(server_address, server_port)


def server_attributes(pool: ObservedPool) -> dict[str, str | int]:
    """Describe the server that a pool's connections lead to, if its address is known."""
    return _server(pool.server_address, pool.server_port)


def _server(address: str | None, port: int | None) -> dict[str, str | int]:
    if address is None:
        return {}
    # The conventions want a port only beside its address.
    return {_SERVER_ADDRESS: address} if port is None else {_SERVER_ADDRESS: address, _SERVER_PORT: port}


def error_type(error: BaseException) -> str:
    """Return the SQLSTATE that the driver's error has, or else the qualified name of the error's class."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    sqlstate: object = getattr(cause, "sqlstate", None)
    return sqlstate if isinstance(sqlstate, str) and sqlstate else class_name(cause)


def class_name(error: BaseException) -> str:
    """Return the qualified name of an error's class, as OpenTelemetry writes it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message(error: BaseException) -> str | None:
    """Return what an error says, with its notes (who holds the pool); None where that may quote SQL text or values."""
    if not isinstance(error, _SPEAKS_FOR_ITSELF):
        return None
    return "\n".join((str(error), *getattr(error, "__notes__", ()))) or None
