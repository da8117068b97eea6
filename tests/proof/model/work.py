"""The rules of work within a transaction: statements, objects, savepoints, streams."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import text

from tests.proof.model.choices import kinds, names, row_of
from tests.proof.model.comparison import (
    MOST_SAVEPOINTS,
    SAVEPOINTS,
    Comparison,
    Row,
    next_number,
)
from tests.proof.model.model import BAD, Transaction


class WorkRules(Comparison):
    """Work on the sessions of the current context."""

    @rule(connection=names, kind=kinds)
    @precondition(lambda self: self.opened)
    def work(self, connection: str, kind: str) -> None:
        if kind == "flush":
            self._flush(connection)
        elif kind.startswith("add"):
            self._add(connection, is_good=kind == "add")
        else:
            self._execute(connection, row_of(kind))

    @rule(main=kinds, other=kinds)
    @precondition(lambda self: self.opened)
    def work_on_both(self, main: str, other: str) -> None:
        self.work("main", main)
        self.work("other", other)

    def _add(self, connection: str, *, is_good: bool) -> None:
        transaction = self.transaction(connection)
        if transaction is not None and transaction.is_inactive:
            return  # SQLAlchemy warns that it discards the object.
        number = next_number()

        async def add_it() -> None:
            (await self.session(connection)).add(Row(id=number, body="added" if is_good else None))

        self.compare(
            lambda: self.model.session(connection).begin().pending.append(number if is_good else BAD), add_it()
        )

    def _execute(self, connection: str, row: int | None) -> None:
        async def execute_it() -> None:
            await self.execute(await self.session(connection), row)

        self.compare(lambda: self.model.execute(connection, row), execute_it())

    def _flush(self, connection: str) -> None:
        async def flush_it() -> None:
            await (await self.session(connection)).flush()

        def predict() -> None:
            if transaction := self.model.session(connection).transaction:
                transaction.flush()

        self.compare(predict, flush_it())

    @rule(connection=names, what=st.sampled_from(["begin", "release", "rollback"]))
    @precondition(lambda self: self.opened and SAVEPOINTS not in self.leaves_out)
    def savepoint(self, connection: str, what: str) -> None:
        transaction = self.transaction(connection)
        open_ones = [] if transaction is None else transaction.savepoints
        if transaction is None or not open_ones or (what == "begin" and len(open_ones) < MOST_SAVEPOINTS):
            self._begin_savepoint(connection)
        elif what != "release" or not (transaction.is_inactive or transaction.is_aborted):
            # One that cannot be released is SQLAlchemy's own affair: the session wants a rollback then.
            self._end_savepoint(connection, transaction, releases=what == "release")

    def _begin_savepoint(self, connection: str) -> None:
        async def begin_it() -> None:
            await (await self.session(connection)).begin_nested()

        self.compare(lambda: self.model.session(connection).begin().begin_nested(), begin_it())

    def _end_savepoint(self, connection: str, transaction: Transaction, *, releases: bool) -> None:
        async def end_it() -> None:
            nested = (await self.session(connection)).get_nested_transaction()
            assert nested is not None
            await (nested.commit() if releases else nested.rollback())

        self._close_streams(transaction)
        self.compare(transaction.release if releases else transaction.roll_back_to_savepoint, end_it())

    @rule(connection=names, then=st.sampled_from(["", "close", "all", "drop"]))
    @precondition(lambda self: self.opened)
    def begin_stream(self, connection: str, then: str) -> None:
        async def stream_it() -> None:
            session = await self.session(connection)
            await session.flush()
            result = await session.stream(text("SELECT generate_series(1, 500)"))
            await result.fetchone()
            transaction = self.transaction(connection)
            assert transaction is not None
            self.streams.setdefault(transaction, []).append(result)

        def predict() -> None:
            self.model.execute(connection, None)
            self.model.session(connection).begin().open_streams += 1

        self.compare(predict, stream_it())
        if then:
            self._end_streams(connection, then)

    def _end_streams(self, connection: str, how: str) -> None:
        transaction = self.transaction(connection)
        if transaction is None or transaction not in self.streams:
            return
        if how == "drop":
            del self.streams[transaction]
            transaction.open_streams = 0
        elif how == "all" and not transaction.is_aborted and not transaction.is_inactive:
            for stream in self.streams[transaction]:
                self.compare(lambda: None, stream.all())
        self._close_streams(transaction)

    def _close_streams(self, transaction: Transaction) -> None:
        self.runner.run(self.close_streams(transaction))
