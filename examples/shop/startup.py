"""What has to be there before the shop can open: a free port and a PostgreSQL."""

import errno
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from context_async_sqlalchemy import DBConnect
from examples.shop.database import open_database
from tools.local_postgres import database_server

HOST = "127.0.0.1"
"""Where the shop listens, if it is not told otherwise, and where its load always finds it."""


class CannotStartError(Exception):
    """The demo cannot run here; the message says what to do."""


def bind(host: str, port: int) -> socket.socket:
    """Take a port.

    Args:
        host: the address of this machine; 0.0.0.0 is all that it has.
        port: 0 takes any free one.

    Raises:
        CannotStartError: it cannot be had.

    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        problem = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
        raise CannotStartError(
            f"Port {port} of {host} {problem}. Choose another one: make demo PORT=9000, or "
            "--port 9000. Port 0 is any free one."
        ) from error


@contextmanager
def postgres() -> Generator[str]:
    """Give the URL of a PostgreSQL, started for the block if ``DATABASE_URL`` names none.

    Raises:
        CannotStartError: there are no PostgreSQL programs, or the server did not start.

    """
    with ExitStack() as stack:
        try:
            url = stack.enter_context(database_server())
        except (RuntimeError, OSError) as error:
            raise CannotStartError(str(error)) from error
        yield url


@asynccontextmanager
async def shop_database(url: str) -> AsyncGenerator[DBConnect]:
    """Give the shop's database.

    Args:
        url: where PostgreSQL is.

    Raises:
        CannotStartError: nobody answers there, or it is no PostgreSQL.

    """
    async with AsyncExitStack() as stack:
        try:
            if _backend_of(url) != "postgresql":
                raise CannotStartError("The demo needs a PostgreSQL: its failing COMMIT is a deferred constraint.")
            connection = await stack.enter_async_context(open_database(url))
        except (SQLAlchemyError, OSError, ValueError, ImportError) as error:
            raise CannotStartError(f"The database of DATABASE_URL cannot be used: {error}") from error
        yield connection


def _backend_of(url: str) -> str:
    try:
        return make_url(url).get_backend_name()
    except (ArgumentError, ValueError):
        # Without the error, because it may quote a part of the password.
        raise CannotStartError(
            "The database of DATABASE_URL cannot be used: it has no URL of SQLAlchemy, for example "
            "postgresql://user:password@host:5432/database"
        ) from None
