"""Sessions that share one database connection in SAVEPOINTs: whose turn it is.

SAVEPOINTs of one connection form a stack: releasing one destroys those opened after it. So a session may only
open one while none is open, or inside one of a session that waits for it.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from ._context.context import Context
from ._context.context_session import sync_session_of
from ._context.current import context_or_none

SHARED_CONNECTION = "context_async_sqlalchemy._shared_connection"

# The rest of the time is for the COMMIT or the ROLLBACK itself.
_SHARE_OF_FINISH_TIMEOUT = 0.5

_LOST = (
    "rolled_back(): the transaction that this one is nested in has ended before it, and has rolled it back. All "
    "sessions of the block share one database connection: let a request or a context wait for the contexts that it has "
    "started"
)


class SharedConnection:
    """The stack of the sessions that are in a transaction on the shared connection.

    Args:
        timeout: seconds that a session waits for its turn.

    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._stack: list[QueuedSession] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._test_sessions: list[Session] = []

    @contextmanager
    def nesting_in(self, session: Session) -> Generator[None]:
        """Let every session nest in this one: a test's session, because the test awaits the requests that it makes."""
        self._test_sessions.append(session)
        try:
            yield
        finally:
            self._test_sessions.remove(session)

    @contextmanager
    def waiting_at_most(self, timeout: float) -> Generator[None]:
        """Have sessions wait at most so many seconds for their turn."""
        previous, self._timeout = self._timeout, timeout
        try:
            yield
        finally:
            self._timeout = previous

    async def wait_for_turn(self, session: "QueuedSession") -> None:
        """Wait until a session may run a statement.

        Raises:
            TimeoutError: another session kept its transaction open.

        """
        await self._wait(session, lambda: self._may_run_statement(session), self._timeout)
        if session not in self._stack:
            self._stack.append(session)

    async def wait_to_commit(self, session: "QueuedSession") -> None:
        """Wait until no SAVEPOINT is open that the end of a session's transaction would destroy.

        Raises:
            TimeoutError: another session kept its transaction open.

        """
        limit = self._timeout
        if (context := session.own_context()) is not None:
            # The end of the context stops to wait after finish_timeout, and would blame the database.
            limit = min(limit, context.rules.finish_timeout * _SHARE_OF_FINISH_TIMEOUT)
        await self._wait(session, lambda: not self.sessions_above(session), limit)

    async def wait_to_roll_back(self, session: "QueuedSession") -> None:
        """Wait like ``wait_to_commit``, but raise nothing. A session of a test does not wait."""
        if session not in self._test_sessions:
            with suppress(TimeoutError):
                await self.wait_to_commit(session)

    def is_of_test(self, session: Session) -> bool:
        """Return whether a session is a test's own, or that of a block within a block."""
        return session in self._test_sessions

    def sessions_above(self, session: "QueuedSession") -> "list[QueuedSession]":
        """Return the sessions whose SAVEPOINTs were opened after that of a session, the last one first."""
        # A session that was asked for its bind, and then began no transaction, has no end that gives the turn back.
        self._stack = [each for each in self._stack if each.has_transaction]
        return self._stack[: self._stack.index(session) : -1] if session in self._stack else []

    def end_turn(self, session: "QueuedSession") -> None:
        """Let the others go on after a session's transaction has ended."""
        if session in self._stack:
            self._stack.remove(session)
            waiting, self._waiting = self._waiting, []
            for change in waiting:
                if not change.done():
                    change.set_result(None)

    async def _wait(self, session: "QueuedSession", is_turn: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not is_turn():
                    self._waiting.append(change := asyncio.get_running_loop().create_future())
                    await change
        except TimeoutError:
            if any(map(self.is_of_test, self.sessions_above(session))):
                reason = "a rolled_back() block was opened within this one. Leave that block before"
            else:
                reason = (
                    f"another has kept its transaction open ({len(self._stack)} deep). End it, or pass "
                    "rolled_back(turn_timeout=...)"
                )
            raise TimeoutError(
                f"rolled_back(): a transaction waited {seconds:g} s for its turn; all sessions of the block share one "
                f"database connection, and {reason}"
            ) from None

    def _may_run_statement(self, session: "QueuedSession") -> bool:
        above = self.sessions_above(session)
        if session in self._stack:
            # A statement may run above the SAVEPOINTs of a block within the block, and is rolled back with that block.
            return all(map(self.is_of_test, above))
        if not self._stack:
            return True
        top = self._stack[-1]
        return self.is_of_test(top) or session.is_opened_within(top)


class QueuedSession(Session):
    """A Session that waits for its turn before it begins, and before it commits.

    Attributes:
        has_transaction: whether a transaction has begun and has not ended on the server. ``in_transaction()`` is False
            already while the SAVEPOINT is being rolled back.

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.has_transaction = False
        self._is_lost = False
        super().__init__(*args, **kwargs)
        self._opened_in: Context | None = context_or_none()

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the turn before a statement: this is what SQLAlchemy calls before it begins."""
        if self._is_lost:
            raise InvalidRequestError(_LOST)
        if in_greenlet():
            # A wait is only possible within a call that SQLAlchemy makes for an AsyncSession.
            await_only(self._shared.wait_for_turn(self))
        return super().get_bind(*args, **kwargs)

    def rollback(self) -> None:
        """Roll back, after the sessions that are nested in this one."""
        self._end_nested_sessions()
        super().rollback()

    def close(self) -> None:
        """Close the session, after the sessions that are nested in this one have ended."""
        self._end_nested_sessions()
        super().close()

    def lose_transaction(self) -> None:
        """Roll back; refuse further statements until the owner of the session has rolled it back or closed it.

        A test's own session is not refused anything: the test has left the block within which it had begun.
        """
        self.rollback()
        self._is_lost = not self._shared.is_of_test(self)

    def wait_to_commit(self) -> None:
        """Wait for the sessions that are nested in this one."""
        if in_greenlet():
            await_only(self._shared.wait_to_commit(self))

    def _end_nested_sessions(self) -> None:
        self._is_lost = False
        if not in_greenlet() or not self._shared.sessions_above(self):
            return
        await_only(self._shared.wait_to_roll_back(self))
        while above := self._shared.sessions_above(self):
            # Otherwise SQLAlchemy and the server would disagree about the SAVEPOINTs that are open.
            above[0].lose_transaction()

    @property
    def _shared(self) -> SharedConnection:
        shared: SharedConnection = self.info[SHARED_CONNECTION]
        return shared

    def own_context(self) -> Context | None:
        """Return the open context that this session belongs to, or None if the application made the session itself."""
        context = self._opened_in
        return context if context is not None and _has_session(context, self) else None

    def is_opened_within(self, other: Session) -> bool:
        """Tell whether another session belongs to the context that this one was opened in, or to one around it."""
        context = self._opened_in
        while context is not None:
            if _has_session(context, other):
                return True
            context = context.parent
        return False


def _has_session(context: Context, session: Session) -> bool:
    return any(sync_session_of(each) is session for each in context.sessions.values())


def _before_commit(session: QueuedSession) -> None:
    session.wait_to_commit()


def _after_transaction_create(session: QueuedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.has_transaction = True


def _after_transaction_end(session: QueuedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.has_transaction = False
        shared: SharedConnection = session.info[SHARED_CONNECTION]
        shared.end_turn(session)


event.listen(QueuedSession, "before_commit", _before_commit)
event.listen(QueuedSession, "after_transaction_create", _after_transaction_create)
event.listen(QueuedSession, "after_transaction_end", _after_transaction_end)


@cache
def queued_session_class(base: type[Session]) -> type[QueuedSession]:
    """Return a class of sessions that take turns and are otherwise like the application's own."""
    if base is Session:
        return QueuedSession
    return type(base.__name__, (QueuedSession, base), {"__module__": base.__module__})
