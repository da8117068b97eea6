"""Setting a Sanic application up: what is refused."""

from collections.abc import Generator
from typing import Any

import pytest
from sanic import Sanic

from context_async_sqlalchemy import DBConnect, setup_db


@pytest.fixture
def app() -> Generator[Any]:
    app: Any = Sanic("set-up", configure_logging=False)
    yield app
    app.unregister_app(app)


def test_a_second_set_up_is_refused(app: Any, connection: DBConnect) -> None:
    setup_db(app, [connection])
    with pytest.raises(RuntimeError, match="called twice"):
        setup_db(app, [])


def test_a_started_application_is_refused(app: Any, connection: DBConnect) -> None:
    app.state.is_started = True
    with pytest.raises(RuntimeError, match=r"after the application had started.*ignores new signals"):
        setup_db(app, [connection])


def test_connections_are_checked(app: Any, connection: DBConnect) -> None:
    with pytest.raises(ValueError, match="given twice"):
        setup_db(app, [connection, connection])
