"""The primary is killed under load, its replica promoted: requests resume on the new host."""

import asyncio

import pytest
from sqlalchemy import make_url
from sqlalchemy.pool import QueuePool

from examples.failover.aiohttp_app import connect_to_any, make_app
from examples.failover.writable_host import NoWritableHostError, WritableHost
from tests.docs.hosts.pair import Pair, connections_to, execute, host_of
from tests.docs.hosts.service import Load, serving
from tests.support.connections import connect_to, in_use
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.recorder import Recorder
from tests.support.waiting import until_async

CLIENTS = 10
CHECK_EVERY = 0.3
RESUMED_WITHIN = 10.0


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
async def test_requests_resume_on_the_promoted_replica_and_no_acknowledged_write_is_lost(pair: Pair) -> None:
    await pair.create_notes()
    url, recorder = pair.primary.url(), Recorder()
    follow = WritableHost(url, pair.hosts, check_every=CHECK_EVERY)
    connection = connect_to(url, pool_size=5, before_create_session_handler=follow)
    async with serving(make_app(connection, observers=[recorder])) as service:
        load = Load(service)
        async with load.running(CLIENTS):
            await load.more_acknowledged(200)
            old = connection.engine
            pair.primary.kill()
            await load.more_refused(5)
            pair.replica.promote()
            async with asyncio.timeout(RESUMED_WITHIN):
                await load.more_acknowledged(1)
            await load.more_acknowledged(200)
        assert load.statuses == {201, 503}

        # One switch, however many requests raced for it.
        assert [pool.server_port for pool in recorder.pools] == [pair.primary.address[1], pair.replica.address[1]]
        assert connection.host == host_of(pair.replica)
        assert recorder.forgotten == [recorder.pools[0]]
        assert old is not None
        pool = old.sync_engine.pool
        assert isinstance(pool, QueuePool)
        assert (pool.checkedin(), pool.checkedout()) == (0, 0)
        assert in_use(connection) == 0

    stored = {row.body for row in await execute(pair.replica, "SELECT body FROM notes")}
    lost = load.acknowledged - stored
    assert lost == set(), f"{len(lost)} of {len(load.acknowledged)} acknowledged writes are lost"
    # What was refused is not there, but for a COMMIT that was under way: that could be either.
    assert len(stored - load.acknowledged) <= 5

    async def nothing_is_left() -> bool:
        return await connections_to(pair.replica) == 0

    await until_async(nothing_is_left, "the service has closed its connections")


async def test_with_asynchronous_replication_a_write_that_had_not_arrived_is_lost(pair: Pair) -> None:
    await pair.create_notes()
    url = pair.primary.url()
    connection = connect_to(url, before_create_session_handler=WritableHost(url, pair.hosts, check_every=CHECK_EVERY))
    async with serving(make_app(connection)) as service:
        load = Load(service)
        async with load.running(1):
            await execute(pair.replica, "ALTER SYSTEM SET primary_conninfo = ''")
            await execute(pair.replica, "SELECT pg_reload_conf()")

            async def is_cut_off() -> bool:
                return await execute(pair.primary, "SELECT 1 FROM pg_stat_replication") == []

            await until_async(is_cut_off, "the replica gets nothing any more")
            before = set(load.acknowledged)
            await load.more_acknowledged(20)
            pair.primary.kill()
            await load.more_refused(1)
            lost = load.acknowledged - before
            pair.replica.promote()
            await load.more_acknowledged(1)
    stored = {row.body for row in await execute(pair.replica, "SELECT body FROM notes")}
    # One of them may have been under way when the replica was cut off.
    assert len(lost - stored) >= len(lost) - 1 >= 19


async def test_a_host_that_says_nothing_any_more_is_left(pair: Pair) -> None:
    """Its machine is gone, or the network to it: nobody refuses a connection, nothing answers."""
    await pair.create_notes()
    async with Proxy(*pair.primary.address) as way:
        url = make_url(pair.primary.url()).set(port=way.port).render_as_string(hide_password=False)
        hosts = [f"127.0.0.1:{way.port}", host_of(pair.replica)]
        connection = connect_to_any(url, hosts, answer_within=1, pool_size=5)
        async with serving(make_app(connection, finish_timeout=2)) as service:
            load = Load(service)
            async with load.running(CLIENTS):
                await load.more_acknowledged(50)
                way.freeze()
                pair.replica.promote()
                await load.more_acknowledged(50)
            # They were told so after `command_timeout`; whether they were written, they cannot know.
            assert 0 < len(load.refused) <= CLIENTS


async def test_without_a_writable_host_the_error_says_why() -> None:
    ports = [free_port(), free_port()]
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{ports[0]}/postgres"
    hosts = [f"127.0.0.1:{port}" for port in ports]
    connection = connect_to(url, before_create_session_handler=WritableHost(url, hosts))
    reasons = [f"127.0.0.1:{port}: .*Connect call failed" for port in ports]
    with pytest.raises(NoWritableHostError, match=".*; ".join(reasons)):
        await connection.session_maker()
    assert connection.host == hosts[0]
