"""A primary with a replica, and a service whose connection follows the one that takes writes."""

import asyncio
from collections.abc import Generator

import pytest

from tests.docs.hosts.pair import Pair
from tools.local_postgres import SYNCHRONOUS_REPLICATION, PostgresReplica, PostgresServer


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Generator[Pair]:
    """Give the test two servers; with the parameter "synchronous" commits wait for the replica."""
    settings = SYNCHRONOUS_REPLICATION if getattr(request, "param", "") == "synchronous" else None
    with PostgresServer(settings) as primary, PostgresReplica(primary) as replica:
        yield Pair(primary, replica)


@pytest.fixture(scope="package")
def lasting_pair() -> Generator[Pair]:
    """Give tests that let both servers be a pair that they share."""
    with PostgresServer() as primary, PostgresReplica(primary) as replica:
        pair = Pair(primary, replica)
        asyncio.run(pair.create_notes())
        yield pair
