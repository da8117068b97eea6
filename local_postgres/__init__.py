"""A throw-away PostgreSQL server for the demo and the tests."""

from local_postgres.binaries import PostgresBinariesNotFoundError
from local_postgres.replica import PostgresReplica
from local_postgres.server import SYNCHRONOUS_REPLICATION, PostgresServer, PostgresStartError, database_server

__all__ = [
    "SYNCHRONOUS_REPLICATION",
    "PostgresBinariesNotFoundError",
    "PostgresReplica",
    "PostgresServer",
    "PostgresStartError",
    "database_server",
]
