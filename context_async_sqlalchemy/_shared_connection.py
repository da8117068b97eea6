"""Sessions that share one database connection: each works in a SAVEPOINT, and they take turns.

The SAVEPOINTs of a connection form a stack: the end of a SAVEPOINT destroys all later ones. So a session may open a
SAVEPOINT only if the stack is empty, or within the SAVEPOINT of a session that waits for it.
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

# The COMMIT or the ROLLBACK itself needs the rest of the time.
_SHARE_OF_FINISH_TIMEOUT = 0.5

_LOST = (
    "rolled_back(): the transaction that this one is nested in has ended before it, and has rolled it back. All "
    "sessions of the block share one database connection: let a request or a context wait for the contexts that it has "
    "started"
)


class SharedConnection:
    """The stack of the sessions that have a SAVEPOINT on one database connection.

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
        """Let every session nest in the session of a test, because the test awaits its requests."""
        self._test_sessions.append(session)
        try:
            yield
        finally:
            self._test_sessions.remove(session)

    @contextmanager
    def waiting_at_most(self, timeout: float) -> Generator[None]:
        """Replace the seconds that a session waits for its turn, until the end of the block."""
        previous, self._timeout = self._timeout, timeout
        try:
            yield
        finally:
            self._timeout = previous

    async def wait_for_turn(self, session: "QueuedSession") -> None:
        """Wait until a session may begin its transaction, or execute a statement in it.

        Raises:
            TimeoutError: another session kept its transaction open.

        """
        await self._wait(session, lambda: self._may_run_statement(session), self._timeout)
        if session not in self._stack:
            self._stack.append(session)

    async def wait_to_commit(self, session: "QueuedSession") -> None:
        """Wait until no SAVEPOINT is open within that of a session, because a COMMIT would destroy it.

        Raises:
            TimeoutError: another session kept its transaction open.

        """
        limit = self._timeout
        if (context := session.own_context()) is not None:
            # Otherwise the end of the context would stop the wait after finish_timeout, and blame the database.
            limit = min(limit, context.rules.finish_timeout * _SHARE_OF_FINISH_TIMEOUT)
        await self._wait(session, lambda: not self.sessions_above(session), limit)

    async def wait_to_roll_back(self, session: "QueuedSession") -> None:
        """Wait like ``wait_to_commit``, but raise nothing. A session of a test does not wait."""
        if session not in self._test_sessions:
            with suppress(TimeoutError):
                await self.wait_to_commit(session)

    def is_of_test(self, session: Session) -> bool:
        """Return whether a session belongs to a test, or is the SAVEPOINT of a block within a block."""
        return session in self._test_sessions

    def sessions_above(self, session: "QueuedSession") -> "list[QueuedSession]":
        """Return the sessions whose SAVEPOINTs are within that of a session, the last one first."""
        # A session without a transaction has only been asked for its bind. No end of a transaction would remove it.
        self._stack = [each for each in self._stack if each.has_transaction]
        return self._stack[: self._stack.index(session) : -1] if session in self._stack else []

    def end_turn(self, session: "QueuedSession") -> None:
        """Remove a session whose transaction has ended, and wake all waiting sessions."""
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
            # The session of a test may be used within an inner block, whose end rolls the statement back too.
            return all(map(self.is_of_test, above))
        if not self._stack:
            return True
        top = self._stack[-1]
        return self.is_of_test(top) or session.is_opened_within(top)


class QueuedSession(Session):
    """A Session that waits for its turn before it begins a transaction, and before it ends one.

    Attributes:
        has_transaction: whether a transaction has begun and has not ended on the server. ``in_transaction()`` becomes
            False before the SAVEPOINT is rolled back.

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.has_transaction = False
        self._is_lost = False
        super().__init__(*args, **kwargs)
        self._opened_in: Context | None = context_or_none()

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        """Return the bind after a wait for the turn. SQLAlchemy calls this before it begins a transaction."""
        if self._is_lost:
            raise InvalidRequestError(_LOST)
        if in_greenlet():
            # Elsewhere SQLAlchemy could not wait for the database either.
            await_only(self._shared.wait_for_turn(self))
        return super().get_bind(*args, **kwargs)

    def rollback(self) -> None:
        """Roll back after the transactions that are nested in this one have ended."""
        self._end_nested_sessions()
        super().rollback()

    def close(self) -> None:
        """Close the session after the transactions that are nested in its transaction have ended."""
        self._end_nested_sessions()
        super().close()

    def lose_transaction(self) -> None:
        """Roll back. Refuse further statements until the owner of the session has rolled it back or closed it.

        The session of a test is not refused statements, because the test itself has left the block.
        """
        self.rollback()
        self._is_lost = not self._shared.is_of_test(self)

    def wait_to_commit(self) -> None:
        """Wait until the transactions that are nested in this one have ended. Outside of a greenlet this is a no-op."""
        if in_greenlet():
            await_only(self._shared.wait_to_commit(self))

    def _end_nested_sessions(self) -> None:
        self._is_lost = False
        if not in_greenlet() or not self._shared.sessions_above(self):
            return
        await_only(self._shared.wait_to_roll_back(self))
        while above := self._shared.sessions_above(self):
            # A ROLLBACK out of order would leave SAVEPOINTs in SQLAlchemy's stack that the server no longer has.
            above[0].lose_transaction()

    @property
    def _shared(self) -> SharedConnection:
        shared: SharedConnection = self.info[SHARED_CONNECTION]
        return shared

    def own_context(self) -> Context | None:
        """Return the open context that has this session, or None if the application made the session itself."""
        context = self._opened_in
        return context if context is not None and _has_session(context, self) else None

    def is_opened_within(self, other: Session) -> bool:
        """Return whether this session was opened in the context of another session, or in a context within it."""
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
    """Return a class of sessions that take turns and are otherwise like the sessions of the application."""
    if base is Session:
        return QueuedSession
    return type(base.__name__, (QueuedSession, base), {"__module__": base.__module__})
