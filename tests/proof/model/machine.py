"""The machine: contexts, work, and the ends of transactions."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from context_async_sqlalchemy import (
    auto_commit_by_status_code,
    close_all_sessions,
    pop_db_session_from_context,
    put_db_session_to_context,
    rollback_all_sessions,
    set_rollback,
)
from context_async_sqlalchemy.adapter_kit import current_context, release_by_status
from tests.proof.model.choices import bodies, call_in_place, endings, modes, names, row_of
from tests.proof.model.comparison import (
    MOST_OWN_SESSIONS,
    NAMES,
)
from tests.proof.model.contexts import ContextRules
from tests.proof.model.model import Session
from tests.proof.model.work import WorkRules


class ContextMachine(ContextRules, WorkRules):
    """The handler whose calls Hypothesis chooses."""

    @rule(connection=names, ending=st.sampled_from(["commit", "rollback", "close"]))
    @precondition(lambda self: self.opened)
    def end_transaction(self, connection: str, ending: str) -> None:
        call = getattr(self.api, f"{ending}_db_session")(self.connections[connection])
        predict = self.model.commit if ending == "commit" else self.model.roll_back
        self.compare(lambda: predict(connection), call)

    @rule(ending=st.sampled_from(["commit", "rollback", "close", "status 200", "status 500"]))
    @precondition(lambda self: self.opened)
    def end_all_transactions(self, ending: str) -> None:
        calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "commit": self.api.commit_all_sessions,
            "rollback": rollback_all_sessions,
            "close": close_all_sessions,
            "status 200": lambda: auto_commit_by_status_code(200),
            "status 500": lambda: auto_commit_by_status_code(500),
        }
        commits = ending in ("commit", "status 200")
        self.compare(lambda: self.model.end_transactions(commit=commits), calls[ending]())

    @rule(status=st.sampled_from([200, 200, 500]))
    @precondition(lambda self: self.opened and not self._has_stream_in_inactive_transaction())
    def send_headers(self, status: int) -> None:
        async def send_them() -> None:
            await release_by_status(current_context(), status)

        self.compare(lambda: self.model.end_transactions(commit=status == 200, spares_streams=True), send_them())

    @rule(connection=names, mode=modes, body=bodies)
    @precondition(lambda self: self.opened)
    def atomic(self, connection: str, mode: str, body: Sequence[str]) -> None:
        rows = [row_of(kind) for kind in body]

        async def run() -> None:
            async with self.api.atomic_db_session(self.connections[connection], mode) as session:
                assert session is await self.session(connection)
                for row in rows:
                    await self.execute(session, row)

        self.compare(lambda: self.model.atomic(connection, mode, rows), run())

    @rule(to=st.booleans())
    @precondition(lambda self: self.opened)
    def set_rollback(self, to: bool) -> None:
        def predict() -> None:
            self.model.current().is_rollback_only = to

        self.compare(predict, call_in_place(set_rollback, to))

    # Sessions that no context finishes

    @rule(connection=names, ending=endings, which=st.integers(0, MOST_OWN_SESSIONS), puts=st.booleans())
    @precondition(lambda self: self.opened and len(self.model.own) < MOST_OWN_SESSIONS)
    def move(self, connection: str, ending: str, which: int, puts: bool) -> None:
        if puts:
            self._put(connection, which)
        else:
            self._pop(connection, ending)

    def _pop(self, connection: str, ending: str) -> None:
        popped = self.model.units[-1].sessions.get(connection)
        self.compare(
            lambda: self.model.pop(connection), call_in_place(pop_db_session_from_context, self.connections[connection])
        )
        transaction = popped and popped.transaction
        if popped and ending and not (ending == "commit" and transaction and transaction.will_fail):
            self.end_own_session(popped, ending)

    def _put(self, connection: str, which: int) -> None:
        target = self.connections[connection]
        session = self.model.own[which] if which < len(self.model.own) else Session(self.model, connection)

        async def put_it() -> None:
            handle = self.handles.get(session) or await target.create_session()
            self.handles[session] = handle
            put_db_session_to_context(self.connections[session.connection], handle)

        self.compare(lambda: self.model.put(session), put_it())

    def _has_stream_in_inactive_transaction(self) -> bool:
        transactions = [self.transaction(name) for name in NAMES]
        return any(each is not None and each.is_inactive and each.open_streams for each in transactions)
