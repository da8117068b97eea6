"""Connections of the library under test, and what their pools hold."""

from typing import Any

from sqlalchemy.pool import QueuePool

from context_async_sqlalchemy import DBConnect
from tests.support.database import APPLICATION_NAME


def connect_to(
    url: str, *, name: str = "main", pool_size: int = 2, pool_timeout: float = 5, **options: Any
) -> DBConnect:
    """Make a connection with a small pool that does not wait long."""
    return DBConnect.from_url(
        url,
        name=name,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        connect_args={"server_settings": {"application_name": APPLICATION_NAME}},
        **options,
    )


def in_use(connection: DBConnect) -> int:
    """Count the pooled connections that are checked out."""
    if connection.engine is None:
        return 0
    pool = connection.engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()
