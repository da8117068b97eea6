"""Sessions as arguments of handlers, where Sanic Extensions are in use; without them nothing of them is imported."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.session import db_session

SessionConstructor = Callable[[], Awaitable[AsyncSession]]


def session_of(connection: DBConnect) -> SessionConstructor:
    """Make a constructor for ``app.ext.add_dependency``: it gives what ``db_session(connection)`` gives.

    Args:
        connection: the database.

    Example::

        Reports = NewType("Reports", AsyncSession)
        app.ext.add_dependency(Reports, session_of(reports))

        async def show(request: Request, session: Reports) -> HTTPResponse: ...

    """

    async def session() -> AsyncSession:
        return await db_session(connection)

    return session


def inject_sessions(app: Any, connections: Sequence[DBConnect]) -> None:
    """Give a handler's argument of the type ``AsyncSession`` the session of the only connection.

    Where there are several, such a handler raises, and says how to name one. What the application has registered for
    ``AsyncSession`` itself stays.

    Args:
        app: the Sanic application, before Sanic Extensions look at the handlers (``before_server_start``).
        connections: of ``setup_db``.

    """
    # `app.ext` would apply the extensions if they are not, against an AUTO_EXTEND that is turned off.
    extensions = getattr(getattr(app, "_ext", None), "extensions", ())
    for extension in extensions:
        if extension.name == "injection" and connections and AsyncSession not in extension.registry:
            only = connections[0] if len(connections) == 1 else None
            constructor = _refuse(connections) if only is None else session_of(only)
            extension.registry.register(AsyncSession, constructor)


def _refuse(connections: Sequence[DBConnect]) -> SessionConstructor:
    names = ", ".join(repr(connection.name) for connection in connections)

    async def session() -> AsyncSession:
        raise LookupError(
            f"a handler asks for an AsyncSession, but there are several connections ({names}): give each a type, "
            'Reports = NewType("Reports", AsyncSession), register it, '
            "app.ext.add_dependency(Reports, session_of(reports)), and ask for Reports; "
            "session_of is in context_async_sqlalchemy_sanic"
        )

    return session
