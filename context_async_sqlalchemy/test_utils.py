"""For tests: everything in one transaction that is rolled back, on every framework; and contexts without a request."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, AsyncTransaction, async_sessionmaker
from sqlalchemy.orm import Session

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
    """Run a block in which whatever the application does through this connection is rolled back in the end.

    Sessions work in SAVEPOINTs of one outer transaction: a commit of one request is seen by the next one and by
    the test, and by nobody else. It holds in every task, so also in the handlers of a server. As one database
    connection serves them all, transactions of parallel requests take turns; one that is opened inside of
    another (``run_in_new_ctx`` in a handler) is nested in it.

    Blocks of one connection nest: a fixture's and a test's. The end of the inner block rolls back everything that was
    done since it began, also by the outer block's session, which cannot commit meanwhile.

    Not covered: what does not go through this connection's sessions (``connection.engine`` used directly), and
    checks that PostgreSQL makes at a real COMMIT (deferred constraints).

    Args:
        connection: the application's connection.
        turn_timeout: seconds that a transaction may wait for its turn; then it raises TimeoutError.
            It holds for the outer block too while an inner one lasts.

    Yields:
        A session for the test itself, in the same outer transaction.

    """
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
            # Nobody else stops it, and the next test has an event loop of its own.
            await connection.close()


@asynccontextmanager
async def _own_connection(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    pool = engine.sync_engine.pool
    try:
        async with engine.connect() as bind:
            yield bind
    finally:
        # An application that stops within the block disposes of its engine, which gets a new pool. The old pool closes
        # the connection in a task of its own, which would be cancelled if the event loop ended with the block.
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
        # sqlite3 begins as late as the first INSERT, and the end of a SAVEPOINT outside of a transaction commits.
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
    """Return a maker of sessions that share a connection, and are otherwise like those of the application's maker."""
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
        # The SAVEPOINT of this session is rolled back when the session is closed, with everything above it.
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
    """Open a session outside of any context that is rolled back at the end of the block."""
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
        auto_close: at the end of the block commit, or roll back after an exception, and close the sessions;
            otherwise they are left as they are, for whoever put them into the context.

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
    """Put a session into the current context that works in a SAVEPOINT on another session's connection.

    Use it inside ``set_test_context``.

    Args:
        connection: the connection that ``db_session`` is called with.
        session: the test's session, whose database connection is shared.

    """
    maker = await connection.session_maker()
    async with maker(bind=await session.connection(), join_transaction_mode="create_savepoint") as savepoint_session:
        put_db_session_to_context(connection, savepoint_session)
        yield
