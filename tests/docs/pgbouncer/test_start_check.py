"""The start check through PgBouncer: it opens a connection, and leaves the limits of the server alone."""

import pytest
from sqlalchemy import make_url

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import Lifecycle
from tests.docs.pgbouncer.bouncer import Bouncer
from tests.docs.pgbouncer.configured import ASYNCPG, PSYCOPG


@pytest.mark.parametrize(
    ("driver", "options"), [("asyncpg", ASYNCPG), ("psycopg", PSYCOPG)], ids=["asyncpg", "psycopg"]
)
async def test_pools_in_front_of_a_pooler_are_not_compared_with_the_server(
    bouncer: Bouncer, driver: str, options: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(bouncer.url).set(drivername=f"postgresql+{driver}")
    connection = DBConnect.from_url(url, name="shop", pool_size=10_000, connect_args=options)
    lifecycle = Lifecycle([connection], observers=(), check_at_start=True)
    await lifecycle.start()
    assert connection.engine is not None
    assert caplog.messages == []
    await lifecycle.shut_down()
