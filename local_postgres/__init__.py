"""A throw-away PostgreSQL server for the demo and the tests."""

from local_postgres.binaries import PostgresBinariesNotFoundError
from local_postgres.server import PostgresServer, PostgresStartError, database_server

__all__ = ["PostgresBinariesNotFoundError", "PostgresServer", "PostgresStartError", "database_server"]
