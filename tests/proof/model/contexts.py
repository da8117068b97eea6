"""The rules that open and leave contexts, and use those that have ended."""

from collections.abc import Coroutine
from contextvars import Token
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import (
    ContextClosedError,
    ContextNotInitiatedError,
    auto_commit_by_status_code,
    close_all_sessions,
    db_session,
    get_db_session_from_context,
    init_db_session_ctx,
    is_context_initiated,
    pop_db_session_from_context,
    put_db_session_to_context,
    reset_db_session_ctx,
    rollback_all_sessions,
    set_rollback,
)
from tests.proof.model.choices import call_in_place, names, openings
from tests.proof.model.comparison import (
    MOST_CONTEXTS,
    MOST_OWN_SESSIONS,
    NAMES,
    Comparison,
)
from tests.proof.model.model import HandlerError, Refused


class ContextRules(Comparison):
    """Contexts, opened by hand or by a block, and nested."""

    @initialize(opening=openings)
    def begin(self, opening: str) -> None:
        self.open(opening)

    @rule(opening=openings)
    @precondition(lambda self: len(self.opened) < MOST_CONTEXTS)
    def open(self, opening: str) -> None:
        async def open_it() -> None:
            if opening == "block":
                block = self.api.db_context()
                await block.__aenter__()
                self.opened.append(block)
            else:
                self.opened.append(init_db_session_ctx(force=opening == "forced"))

        self.compare(lambda: self.model.open(force=opening != "by hand"), open_it())

    @rule(fails=st.booleans())
    @precondition(lambda self: self.opened)
    def leave(self, *, fails: bool) -> None:
        opened: Any = self.opened.pop()
        is_token = isinstance(opened, Token)
        error = HandlerError() if fails else None
        ending = list(self.model.current().sessions.values())

        async def leave_it() -> None:
            self.keep_ended(ending)
            if is_token:
                await reset_db_session_ctx(opened)
            else:
                # False: the block passes the error on.
                assert not await opened.__aexit__(error and HandlerError, error, None)

        commits = not fails and not is_token
        self.compare(lambda: self.model.leave(commit=commits), leave_it())

    @rule()
    @precondition(lambda self: self.opened and isinstance(self.opened[-1], Token))
    @precondition(lambda self: len(self.model.own) + len(NAMES) <= MOST_OWN_SESSIONS)
    def reset_without_close(self) -> None:
        token: Any = self.opened.pop()
        self.compare(self.model.abandon, reset_db_session_ctx(token, with_close=False))

    @rule(connection=names, which=st.integers(0, 99))
    @precondition(lambda self: self.ended)
    def use_an_ended_context(self, connection: str, which: int) -> None:
        context, sessions = self.ended[which % len(self.ended)]
        target = self.connections[connection]

        async def look() -> None:
            assert not is_context_initiated()
            assert pop_db_session_from_context(target) is None

        def refuse() -> None:
            raise Refused(ContextClosedError)

        calls: list[Coroutine[Any, Any, object]] = [
            db_session(target),
            self.api.commit_db_session(target),
            self.api.rollback_db_session(target),
            self.api.close_db_session(target),
            call_in_place(set_rollback),
            call_in_place(get_db_session_from_context, target),
            call_in_place(put_db_session_to_context, target, AsyncSession()),
            *(session.execute(text("SELECT 1")) for session in sessions),
        ]
        for position, call in enumerate(calls):
            if position == which % len(calls):
                self.compare(refuse, call, context)
            else:
                call.close()
        self.compare(lambda: None, look(), context)

    @rule(connection=names, which=st.integers(0, 20))
    @precondition(lambda self: not self.opened)
    def use_no_context(self, connection: str, which: int) -> None:
        target = self.connections[connection]

        def refuse() -> None:
            raise Refused(ContextNotInitiatedError)

        calls: list[Coroutine[Any, Any, object]] = [
            db_session(target),
            self.api.commit_db_session(target),
            self.api.rollback_db_session(target),
            self.api.close_db_session(target),
            self.api.commit_all_sessions(),
            rollback_all_sessions(),
            close_all_sessions(),
            auto_commit_by_status_code(200),
            call_in_place(set_rollback),
            call_in_place(get_db_session_from_context, target),
            call_in_place(put_db_session_to_context, target, AsyncSession()),
        ]
        for position, call in enumerate(calls):
            if position == which % len(calls):
                self.compare(refuse, call)
            else:
                call.close()
        self.compare(lambda: None, call_in_place(pop_db_session_from_context, target))
