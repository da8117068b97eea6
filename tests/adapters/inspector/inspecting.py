"""An inspector of one connection without a server, and a look at it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from context_async_sqlalchemy import (
    DBConnect,
)
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy_inspector import Inspector
from tests.adapters.inspector.looking import TOKEN
from tests.support.database import Database


@asynccontextmanager
async def inspecting(
    database: Database,
    *,
    pool_size: int = 2,
    slow: float = 1000,
    keep: int = 100,
    **options: Any,
) -> AsyncGenerator[tuple[Inspector, DBConnect]]:
    """Observe a connection by an inspector during the block."""
    inspector = Inspector(token=TOKEN, slow=slow, keep=keep)
    connection = DBConnect.from_url(database.url, name="main", pool_size=pool_size, max_overflow=0, **options)
    lifecycle = Lifecycle([connection], observers=[inspector])
    try:
        yield inspector, connection
    finally:
        await lifecycle.shut_down()


def look(inspector: Inspector) -> Any:
    """Return the state of the only worker, as a visitor gets it."""
    return json.loads(json.dumps(inspector.worker()))
