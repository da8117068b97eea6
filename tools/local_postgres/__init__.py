"""A throw-away PostgreSQL server for the demo and the tests."""

from tools.local_postgres.binaries import PostgresBinariesNotFoundError
from tools.local_postgres.replica import PostgresReplica
from tools.local_postgres.server import SYNCHRONOUS_REPLICATION, PostgresServer, PostgresStartError, database_server

__all__ = [
    "SYNCHRONOUS_REPLICATION",
    "PostgresBinariesNotFoundError",
    "PostgresReplica",
    "PostgresServer",
    "PostgresStartError",
    "database_server",
]
