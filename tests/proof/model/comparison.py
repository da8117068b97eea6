"""One run: an event loop, two connections, and the comparison of each call with the model's prediction."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context, Token, copy_context
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette

from context_async_sqlalchemy import DBConnect, PartialCommitError, db_session, setup_db
from tests.proof.model.api import Api
from tests.proof.model.model import (
    BAD,
    DOOM,
    FAILURE,
    HandlerError,
    Model,
    Refused,
    Session,
    Transaction,
)
from tests.proof.model.observation import OtherClient
from tests.support.connections import in_use
from tests.support.recorder import Recorder

SAVEPOINTS = "begins savepoints"
NAMES = ("main", "other")
MOST_CONTEXTS = 3
MOST_OWN_SESSIONS = 4
MOST_SAVEPOINTS = 2
_NUMBERS = itertools.count(1)


class _Base(DeclarativeBase):
    pass


class Row(_Base):
    """A row that is written by a flush."""

    __tablename__ = "model_rows"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[str | None]


def next_number() -> int:
    """Return a number that no row has yet."""
    return next(_NUMBERS)


class Comparison(RuleBasedStateMachine):
    """A run without its rules.

    Attributes:
        api: the calls under test.
        client: the database as another client sees it.
        url: of the database.
        leaves_out: habits that the handler has not in these runs.
        runs: how many there were.
        steps: how many calls all runs have made.

    """

    api: ClassVar[type[Api]] = Api
    client: ClassVar[OtherClient]
    url: ClassVar[str]
    leaves_out: ClassVar[frozenset[str]] = frozenset()
    runs: ClassVar[int] = 0
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        self.runner = asyncio.Runner()
        self.model = Model()
        self.recorder = Recorder()
        self.first = next_number()
        self.connections = {name: self._connect(name) for name in NAMES}
        setup_db(Starlette(), self.connections.values(), observers=[self.recorder], metrics_path=None)
        self.opened: list[Token[Any] | AbstractAsyncContextManager[None]] = []
        self.ended: list[tuple[Context, list[AsyncSession]]] = []
        self.handles: dict[Session, AsyncSession] = {}
        self.streams: dict[Transaction, list[AsyncResult[Any]]] = {}
        self.is_sound = True

    def _connect(self, name: str) -> DBConnect:
        return DBConnect.from_url(
            self.url,
            name=name,
            pool_size=MOST_CONTEXTS + MOST_OWN_SESSIONS,
            max_overflow=0,
            pool_timeout=0.5,
            connect_args={"server_settings": {"application_name": self._application(name)}},
        )

    def _application(self, name: str) -> str:
        # What another run has left is not counted in this one.
        return f"model {name} {self.first}"

    def compare(
        self, predict: Callable[[], object], call: Coroutine[Any, Any, object], context: Context | None = None
    ) -> None:
        """Make a call; it must raise what the model predicts, or nothing."""
        self.is_sound = False
        type(self).steps += 1
        expected, told = _prediction(predict)
        raised: Exception | None = None
        try:
            self.runner.run(call, context=context)
        except AssertionError:
            raise
        except Exception as error:  # noqa: BLE001 - compared with what the model predicts
            raised = error
        assert type(raised) is (expected or type(None)), f"{expected} was predicted, and {raised!r} raised"
        if isinstance(raised, PartialCommitError):
            assert (raised.committed, raised.failed, raised.rolled_back) == told
        self.is_sound = True

    @invariant()
    def rows_and_transactions_are_those_of_the_model(self) -> None:
        """Compare what is outside of the library: rows, sessions, pools, the server's processes."""
        self.is_sound = False
        assert self.client.rows(self.first) == self.model.visible, "another client sees other rows"
        live = self.model.sessions()
        for session in live:
            if handle := self.handles.get(session):
                assert handle.in_transaction() == (session.transaction is not None), (
                    f"{session.connection}: in_transaction"
                )
        for name, connection in self.connections.items():
            open_here = [each.transaction for each in live if each.connection == name and each.transaction is not None]
            assert in_use(connection) == sum(each.has_connection for each in open_here), f"{name}: connections held"
            on_server = sum(each.is_open_on_server for each in open_here)
            assert self.client.has_in_transaction(self._application(name), on_server), (
                f"{name}: transactions on the server"
            )
        self.is_sound = True

    def teardown(self) -> None:
        """End what is open; then nothing may be left, and what the observer was told must add up."""
        try:
            if self.is_sound:
                self._end_everything()
                self._check_the_end()
        finally:
            self.runner.run(self._close())
            self.runner.close()

    def _end_everything(self) -> None:
        while self.opened:
            self.leave(fails=True)
            self.rows_and_transactions_are_those_of_the_model()
        for session in list(self.model.own):
            self.end_own_session(session, "close")

    def _check_the_end(self) -> None:
        self.rows_and_transactions_are_those_of_the_model()
        taken = sum(transaction.has_connection for transaction in self.model.transactions)
        assert len(self.recorder.checkouts) == taken, "an observer was told of other checkouts"
        assert self.recorder.transactions.count("commit") == self.model.commits, "an observer was told of other commits"
        assert self.recorder.invalidations == 0, "a connection was thrown away, and none was broken"
        for connection in self.connections.values():
            self.runner.run(self._work_as_before(connection))

    async def _close(self) -> None:
        for handle in self.handles.values():
            # After a violation it is in any state.
            with suppress(SQLAlchemyError):
                await handle.close()
        for connection in self.connections.values():
            await connection.close()

    async def _work_as_before(self, connection: DBConnect) -> None:
        assert len(asyncio.all_tasks()) == 1, "a task is left"
        async with self.api.db_context():
            assert await (await db_session(connection)).scalar(text("SELECT 1")) == 1
        assert in_use(connection) == 0

    def leave(self, *, fails: bool) -> None:
        """Leave the innermost context; a block may be left by an error."""
        raise NotImplementedError

    def end_transaction(self, connection: str, ending: str) -> None:
        """End the transaction of the current context's session."""
        raise NotImplementedError

    def transaction(self, connection: str) -> Transaction | None:
        """Return the transaction of the current context's session."""
        session = self.model.units[-1].sessions.get(connection) if self.model.units else None
        return None if session is None else session.transaction

    def end_own_session(self, session: Session, ending: str) -> None:
        """End a session that no context finishes."""

        async def end_it() -> None:
            handle = self.handles[session]
            await getattr(handle, ending)()
            if ending == "commit":
                await handle.close()

        self.compare(session.commit if ending == "commit" else session.roll_back, end_it())
        self.model.own.remove(session)

    async def session(self, connection: str) -> AsyncSession:
        """Return the current context's session: the same one each time."""
        session = await db_session(self.connections[connection])
        assert self.handles.setdefault(self.model.session(connection), session) is session, "another session"
        return session

    async def execute(self, session: AsyncSession, row: int | None) -> None:
        """Execute one of the model's statements."""
        if row != BAD:
            # SQLAlchemy 2.1 does so before any statement, and 2.0 only before those of the ORM.
            await session.flush()
        if row is None:
            await session.execute(text("SELECT 1"))
        elif row == FAILURE:
            await session.execute(text("SELECT 1 / 0"))
        elif row == DOOM:
            await session.execute(text("INSERT INTO model_dooms VALUES (:id), (:id)"), {"id": next_number()})
        elif row == BAD:
            raise HandlerError
        else:
            await session.execute(text("INSERT INTO model_rows VALUES (:id, 'executed')"), {"id": row})

    async def close_streams(self, transaction: Transaction) -> None:
        """Close what is streamed in a transaction."""
        for stream in self.streams.pop(transaction, []):
            await stream.close()
        transaction.open_streams = 0

    def keep_ended(self, sessions: Iterable[Session]) -> None:
        """Keep the current context for those that outlive it; called in the task that is about to end it."""
        self.ended.append((copy_context(), [self.handles[each] for each in sessions if each in self.handles]))


def _prediction(predict: Callable[[], object]) -> tuple[type[Exception] | None, tuple[object, ...]]:
    try:
        predict()
    except Refused as refused:
        return refused.error, refused.told
    return None, ()
