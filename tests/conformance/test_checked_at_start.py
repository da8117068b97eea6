"""``check_at_start``: an application whose connection cannot be opened does not start, and says why."""

import traceback
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from context_async_sqlalchemy import DBConnect
from tests.conformance.driver import Exchange, Reply, Setup
from tests.conformance.service import Service
from tests.conformance.statements import write
from tests.support.ports import free_port
from tests.support.roles import role


async def _answer(_exchange: Exchange) -> Reply:
    return Reply()


async def _failed_start(service: Service, url: URL, caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    """Start an application that has to fail, and return all that it says."""
    connection = DBConnect.from_url(url, name="shop", **options)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each server has its own
        async with service.driver.serving(Setup(_answer, [connection], {"check_at_start": True})):
            pass
    assert connection.engine is None
    return "".join(traceback.format_exception(caught.value)) + caplog.text


async def test_each_connection_is_open_before_the_first_request(service: Service) -> None:
    async def handler(_exchange: Exchange) -> Reply:
        await write(service.connection, "kept")
        return Reply()

    async with service.running(handler, check_at_start=True) as client:
        # A server may bind its port before the application has started.
        await service.database.wait_for_backends("true")
        assert (await client.get())[0] == 200
    assert await service.database.notes() == ["kept"]


async def test_without_the_check_an_application_starts_without_its_database(service: Service) -> None:
    connection = DBConnect.from_url(f"postgresql+asyncpg://u@127.0.0.1:{free_port()}/shop", name="shop")
    async with service.running(_answer, connections=[connection]) as client:
        assert (await client.get())[0] == 200


async def test_a_wrong_password_stops_the_start(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    async with role(service.database.url) as shopkeeper:
        said = await _failed_start(service, shopkeeper.url.set(password="not-the-one"), caplog)  # noqa: S106 - no secret
    assert "connection 'shop' (user 'shopkeeper', host '127.0.0.1:" in said
    assert "cannot be opened: the server refuses the password; correct the user or the password [" in said
    assert "not-the-one" not in said


async def test_a_server_that_is_down_stops_the_start(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    said = await _failed_start(service, make_url(f"postgresql+asyncpg://u@127.0.0.1:{port}/shop"), caplog)
    assert (
        f"connection 'shop' (user 'u', host '127.0.0.1:{port}', database 'shop') cannot be opened: nothing ans" in said
    )
    assert "start the database, or correct the host and the port" in said


async def test_an_unknown_database_stops_the_start(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    said = await _failed_start(service, make_url(service.database.url).set(database="nowhere"), caplog)
    assert (
        "database 'nowhere') cannot be opened: the server does not have this database; create it, or correct its name"
        in said
    )


async def test_an_unknown_option_of_the_driver_stops_the_start(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    said = await _failed_start(service, make_url(service.database.url), caplog, connect_args={"time_out": 5})
    assert "cannot be opened: the driver refuses an option; correct connect_args or the query of the URL" in said
    assert "time_out" in said
