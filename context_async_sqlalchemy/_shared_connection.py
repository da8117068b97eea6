"""Sessions that share one database connection in SAVEPOINTs: whose turn it is.

SAVEPOINTs of one connection form a stack: releasing one destroys those opened after it. So a session may only
open one while none is open, or inside one of a session that waits for it.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from ._context.context import Context
from ._context.context_session import sync_session_of
from ._context.current import context_or_none

SHARED_CONNECTION = "context_async_sqlalchemy._shared_connection"


class SharedConnection:
    """The stack of the sessions that are in a transaction on the shared connection.

    Args:
        timeout: seconds that a session waits for its turn.

    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._stack: list[QueuedSession] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._open_to_all: list[Session] = []

    @contextmanager
    def nesting_in(self, session: Session) -> Generator[None]:
        """Let every session nest in this one: a test's session, because the test awaits the requests that it makes."""
        self._open_to_all.append(session)
        try:
            yield
        finally:
            self._open_to_all.remove(session)

    @contextmanager
    def waiting_at_most(self, timeout: float) -> Generator[None]:
        """Have sessions wait at most so many seconds for their turn."""
        previous, self._timeout = self._timeout, timeout
        try:
            yield
        finally:
            self._timeout = previous

    async def wait_for_turn(self, session: "QueuedSession", *, to_commit: bool = False) -> None:
        """Wait until it is a session's turn.

        Args:
            session: the session.
            to_commit: whether the session is about to commit, which destroys every SAVEPOINT opened after its own.

        Raises:
            TimeoutError: another session kept its transaction open.

        """
        try:
            async with asyncio.timeout(self._timeout):
                while not self._is_turn_of(session, to_commit=to_commit):
                    self._waiting.append(change := asyncio.get_running_loop().create_future())
                    await change
        except TimeoutError:
            raise TimeoutError(
                f"rolled_back(): a transaction waited {self._timeout:g} s for its turn; all sessions of the block "
                f"share one database connection, and another has kept its transaction open ({len(self._stack)} "
                "deep). End it, or pass rolled_back(turn_timeout=...)"
            ) from None
        if session not in self._stack:
            self._stack.append(session)

    def end_turn(self, session: "QueuedSession") -> None:
        """Let the others go on after a session's transaction has ended."""
        if session in self._stack:
            self._stack.remove(session)
            waiting, self._waiting = self._waiting, []
            for change in waiting:
                if not change.done():
                    change.set_result(None)

    def _is_turn_of(self, session: "QueuedSession", *, to_commit: bool) -> bool:
        # A session that was asked for its bind, and then began no transaction, has no end that gives the turn back.
        self._stack = stack = [each for each in self._stack if each.has_transaction]
        if not stack:
            return True
        if session in stack:
            # A statement may run above the SAVEPOINTs of a block within the block, and is rolled back with that block.
            above = stack[stack.index(session) + 1 :]
            return not above or (not to_commit and all(each in self._open_to_all for each in above))
        top = stack[-1]
        return top in self._open_to_all or session.is_opened_within(top)


class QueuedSession(Session):
    """A Session that waits for its turn before it begins, and before it commits.

    Attributes:
        has_transaction: whether a transaction has begun and has not ended on the server. ``in_transaction()`` is False
            already while the SAVEPOINT is being rolled back.

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.has_transaction = False
        super().__init__(*args, **kwargs)
        self._opened_in: Context | None = context_or_none()

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the turn before a statement: this is what SQLAlchemy calls before it begins."""
        self.wait_for_turn()
        return super().get_bind(*args, **kwargs)

    def wait_for_turn(self, *, to_commit: bool = False) -> None:
        """Wait for the turn, where that is possible: inside of a call that SQLAlchemy makes for an AsyncSession."""
        if in_greenlet():
            shared: SharedConnection = self.info[SHARED_CONNECTION]
            await_only(shared.wait_for_turn(self, to_commit=to_commit))

    def is_opened_within(self, other: Session) -> bool:
        """Tell whether another session belongs to the context that this one was opened in, or to one around it."""
        context = self._opened_in
        while context is not None:
            if any(sync_session_of(session) is other for session in context.sessions.values()):
                return True
            context = context.parent
        return False


def _before_commit(session: QueuedSession) -> None:
    session.wait_for_turn(to_commit=True)


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
