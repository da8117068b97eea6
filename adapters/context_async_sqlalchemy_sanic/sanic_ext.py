"""Sessions as arguments of handlers, by the injection of Sanic Extensions. The file imports nothing of them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect, db_session
from context_async_sqlalchemy.adapter_kit import kind_of

SessionConstructor = Callable[[], Awaitable[AsyncSession]]


def session_of(connection: DBConnect) -> SessionConstructor:
    """Return a constructor for ``app.ext.add_dependency``, which returns ``await db_session(connection)``.

    Args:
        connection: the database of the sessions.

    Raises:
        TypeError: ``connection`` is not a DBConnect.

    Example::

        Reports = NewType("Reports", AsyncSession)
        app.ext.add_dependency(Reports, session_of(reports))

        async def show(request: Request, session: Reports) -> HTTPResponse: ...

    """
    _require_connection(connection)

    async def session() -> AsyncSession:
        return await db_session(connection)

    return session


def _require_connection(given: object) -> None:
    if not isinstance(given, DBConnect):
        raise TypeError(f"session_of takes a DBConnect, got {kind_of(given)}")


def inject_sessions(app: Any, connections: Sequence[DBConnect]) -> None:
    """Let handlers have an argument of the type ``AsyncSession``: the session of the only connection.

    If the application has several connections, such a handler raises an error that explains the alternative. A
    constructor that the application has registered for ``AsyncSession`` stays.

    Args:
        app: the Sanic application, before Sanic Extensions look at the handlers (``before_server_start``).
        connections: the connections that ``setup_db`` was given.

    """
    # The property `app.ext` would apply the extensions even if the application has turned AUTO_EXTEND off.
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
