"""The process of PostgreSQL behind a driver's connection."""

from typing import Any


def backend_pid(connection: Any) -> int | None:
    """Return the process that serves a connection, or None if its driver does not tell it.

    Args:
        connection: that of asyncpg, which has a method for it, or that of psycopg, which has an attribute.

    """
    try:
        if hasattr(connection, "get_server_pid"):
            return int(connection.get_server_pid())
        return int(connection.info.backend_pid)
    except Exception:  # noqa: BLE001 - another driver, or a connection that is closed
        return None
