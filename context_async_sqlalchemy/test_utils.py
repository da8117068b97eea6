"""Helpers for tests: one transaction that is rolled back, on every framework; and contexts without a request."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, AsyncTransaction, async_sessionmaker
from sqlalchemy.orm import Session

from ._context.checks import check_seconds, require_connection
from ._context.current import current_context
from ._engine_disposal import close_returned
from ._finishing.finish import finish
from ._runtime.shield import run_to_end
from ._shared_connection import SHARED_CONNECTION, SharedConnection, queued_session_class
from .connect import DBConnect
from .context import init_db_session_ctx, put_db_session_to_context, reset_db_session_ctx

DEFAULT_TURN_TIMEOUT = 30.0


@asynccontextmanager
async def rolled_back(
    connection: DBConnect, *, turn_timeout: float = DEFAULT_TURN_TIMEOUT
) -> AsyncGenerator[AsyncSession]:
    """Run a block after which all work of the application through this connection is rolled back.

    Sessions work in SAVEPOINTs of one outer transaction. The next request and the test see the commit of a request, and
    no other transaction does. This holds in every task, so also in the handlers of a server. One database connection
    serves all sessions, so the transactions of parallel requests take turns. A transaction that is opened inside of
    another one (``run_in_new_ctx`` in a handler) is nested in it, and is lost if the outer one is rolled back.

    Blocks nest: a test may open a block within the block of a fixture. The inner block is a SAVEPOINT on the same
    database connection. It sees the work of the outer block, and its end rolls back all work since its beginning. The
    session of the outer block can be used in the inner block. It must not commit or roll back there a transaction that
    is older than the inner block.

    A request sees an object that the test has added only after ``session.flush()`` or ``session.commit()``. The
    session of the test keeps the objects that it has loaded. To see how a request has changed an object, the test
    awaits ``session.refresh(object)``, or selects with ``execution_options(populate_existing=True)``.

    Not covered are statements that bypass the sessions of this connection (``connection.engine`` used directly), and
    checks that PostgreSQL makes at a real COMMIT (deferred constraints).

    Args:
        connection: the application's connection.
        turn_timeout: seconds that a transaction waits for its turn. The limit of an inner block also holds for the
            sessions of the outer block until the inner block ends. A COMMIT or ROLLBACK at the end of a context waits
            at most half of ``finish_timeout``.

    Yields:
        A session for the test, in the same outer transaction.

    Raises:
        TimeoutError: an inner block had to wait longer than ``turn_timeout`` for the transaction of a request to end.
        sqlalchemy.exc.InvalidRequestError: the engine has ``isolation_level="AUTOCOMMIT"``.

    """
    require_connection(connection)
    check_seconds("turn_timeout", turn_timeout)
    made_here = connection.engine is None
    maker = await connection.session_maker()
    shared: SharedConnection | None = maker.kw.get("info", {}).get(SHARED_CONNECTION)
    if shared is not None:
        async with _block_within_a_block(maker, shared, turn_timeout) as session:
            yield session
        return
    engine = connection.engine
    assert engine is not None, "session_maker() makes the engine"  # noqa: S101 - for the type checkers
    try:
        async with _own_connection(engine) as bind:
            transaction = await _begin(bind, connection.name)
            shared = SharedConnection(turn_timeout)
            substitute = _maker_of_queued_sessions(maker, bind, shared)
            with connection.substitute_session_maker(substitute):
                async with _session_of_test(substitute, shared) as session:
                    yield session
            await transaction.rollback()
    finally:
        if made_here:
            # No application disposes of this engine, and the next test has another event loop.
            await connection.close()


@asynccontextmanager
async def _own_connection(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    pool = engine.sync_engine.pool
    try:
        async with engine.connect() as bind:
            yield bind
    finally:
        # An application that stops within the block disposes of its engine, which gets a new pool. The old pool closes
        # the connection in a separate task. The end of the event loop would cancel this task.
        if engine.sync_engine.pool is not pool:
            await run_to_end(close_returned(pool))


async def _begin(bind: AsyncConnection, name: str) -> AsyncTransaction:
    transaction = await bind.begin()
    pooled = await bind.get_raw_connection()
    driver_connection: Any = pooled.driver_connection
    is_sqlite = bind.dialect.name == "sqlite"
    if is_sqlite and driver_connection.in_transaction:
        return transaction
    if _is_in_autocommit(bind.dialect, pooled.dbapi_connection):
        raise InvalidRequestError(
            f"rolled_back(): the engine of {name!r} has isolation_level='AUTOCOMMIT', in which each statement is final "
            "and nothing can be rolled back. Make the engine of the tests without it. If some statements need it, give "
            "them a DBConnect of their own, which the tests leave alone"
        )
    if is_sqlite:
        # The driver begins before the first INSERT, and outside of a transaction the end of a SAVEPOINT commits.
        await bind.exec_driver_sql("BEGIN")
    return transaction


def _is_in_autocommit(dialect: Dialect, dbapi_connection: Any) -> bool:
    try:
        return dialect.detect_autocommit_setting(dbapi_connection)
    except NotImplementedError:
        return False


def _maker_of_queued_sessions(
    maker: async_sessionmaker[AsyncSession], bind: AsyncConnection, shared: SharedConnection
) -> async_sessionmaker[AsyncSession]:
    """Return a maker of sessions that share a connection, and are otherwise like the sessions of the application."""
    base: type[Session] = maker.kw.get("sync_session_class") or maker.class_.sync_session_class
    options: dict[str, Any] = {
        **maker.kw,
        "bind": bind,
        "join_transaction_mode": "create_savepoint",
        "sync_session_class": queued_session_class(base),  # type: ignore[arg-type]  # mypy: a class is hashable
        "info": {**maker.kw.get("info", {}), SHARED_CONNECTION: shared},
    }
    return async_sessionmaker(class_=maker.class_, **options)


@asynccontextmanager
async def _block_within_a_block(
    maker: async_sessionmaker[AsyncSession], shared: SharedConnection, turn_timeout: float
) -> AsyncGenerator[AsyncSession]:
    with shared.waiting_at_most(turn_timeout):
        # The end of this session rolls its SAVEPOINT back, with all SAVEPOINTs within it.
        async with _session_of_test(maker, shared) as block:
            await block.connection()
            async with _session_of_test(maker, shared) as session:
                yield session


@asynccontextmanager
async def _session_of_test(
    maker: async_sessionmaker[AsyncSession], shared: SharedConnection
) -> AsyncGenerator[AsyncSession]:
    session = maker()
    with shared.nesting_in(session.sync_session):
        async with session:
            yield session


@asynccontextmanager
async def rollback_session(connection: DBConnect) -> AsyncGenerator[AsyncSession]:
    """Open a session outside of any context. The end of the block rolls the session back."""
    require_connection(connection)
    maker = await connection.session_maker()
    async with maker() as session:
        try:
            yield session
        finally:
            await session.rollback()


@asynccontextmanager
async def set_test_context(auto_close: bool = False) -> AsyncGenerator[None]:  # noqa: FBT001, FBT002 - published
    """Open a context for a test that calls application code without a request.

    Args:
        auto_close: whether the end of the block commits the sessions (or rolls them back after an exception) and closes
            them. Otherwise the sessions are left to the code that put them into the context.

    Raises:
        ContextAlreadyInitiatedError: a context is open already.

    """
    token = init_db_session_ctx()
    context = current_context()
    try:
        try:
            yield
        except BaseException:
            if auto_close:
                await finish(context, commit=False)
            raise
        if auto_close:
            await finish(context, commit=True)
    finally:
        await reset_db_session_ctx(token, with_close=auto_close)


@asynccontextmanager
async def put_savepoint_session_in_ctx(connection: DBConnect, session: AsyncSession) -> AsyncGenerator[None]:
    """Put a session into the current context. It works in a SAVEPOINT on another session's database connection.

    Use this inside ``set_test_context``.

    Args:
        connection: the connection that ``db_session`` is called with.
        session: the session of the test, whose database connection is shared.

    """
    require_connection(connection)
    maker = await connection.session_maker()
    async with maker(bind=await session.connection(), join_transaction_mode="create_savepoint") as savepoint_session:
        put_db_session_to_context(connection, savepoint_session)
        yield
