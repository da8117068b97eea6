"""The container in the ContextVar: the sessions of one unit of work, and whether it is still open."""

import asyncio
from contextvars import Token
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from context_async_sqlalchemy._finishing.close import Work
from context_async_sqlalchemy._finishing.finish import finish
from context_async_sqlalchemy.connect import DBConnect
from context_async_sqlalchemy.exceptions import (
    ContextAlreadyInitiatedError,
    ContextClosedError,
    ContextNotInitiatedError,
)
from context_async_sqlalchemy.lifecycle import Lifecycle
from context_async_sqlalchemy.observer import ReleaseCause

from .context_session import ContextSession, sync_session_of
from .current import context_or_none
from .current import current as _current

if TYPE_CHECKING:
    from context_async_sqlalchemy._observing.open_context_record import ObservedContext

__all__ = [
    "Context",
    "ContextAlreadyInitiatedError",
    "ContextClosedError",
    "ContextNotInitiatedError",
    "get_db_session_from_context",
    "init_db_session_ctx",
    "is_context_initiated",
    "open_context",
    "pop_db_session_from_context",
    "put_db_session_to_context",
    "reset_db_session_ctx",
]


class Context:
    """The sessions of one unit of work (a request, a job, a message).

    A context is open until :func:`~context_async_sqlalchemy.auto_commit.finish` begins; from then on only the
    task that finishes it (and the commit hooks that run there) may use it.

    Args:
        lifecycle: how it ends.
        parent: the open context within which this one was opened, until this one ends.
        owner: what the context was opened for (a framework's request), so that a nested set-up finds it open.

    """

    __slots__ = (
        "_closed",
        "_finisher",
        "has_committed",
        "has_ended",
        "is_open",
        "is_retried",
        "lifecycle",
        "owner",
        "parent",
        "record",
        "releasing",
        "rollback_only",
        "sessions",
    )

    def __init__(self, lifecycle: Lifecycle, parent: "Context | None" = None, owner: object = None) -> None:
        self.is_open = True
        # Between the two, what is left to flush and to commit takes its connection.
        self.has_ended = False
        self.owner = owner
        self.lifecycle = lifecycle
        self.parent = parent
        self.sessions: dict[DBConnect, AsyncSession] = {}
        self.rollback_only = False
        # Something of it is committed, or may be: it cannot be run again.
        self.has_committed = False
        # Whether what runs in it now is run again if the database refuses it.
        self.is_retried = False
        # What observers are told; made at the first checkout, if there is an observer.
        self.record: ObservedContext | None = None
        # By what connections are given back at this moment, where their transactions' outcome does not tell.
        self.releasing: ReleaseCause | None = None
        self._finisher: asyncio.Task[object] | None = None
        self._closed: asyncio.Future[None] | None = None

    def session(self, connect: DBConnect) -> AsyncSession | None:
        """Return the session of a connection, if there is one.

        Raises:
            ContextClosedError: the context has ended.

        """
        self.require_open()
        return self.sessions.get(connect)

    def put_if_absent(self, connect: DBConnect, session: AsyncSession) -> AsyncSession:
        """Take a session over unless there is one already; return the one there is then.

        Raises:
            ContextClosedError: the context has ended.

        """
        present = self.session(connect)
        if present is not None:
            return present
        self.put(connect, session)
        return session

    def put(self, connect: DBConnect, session: AsyncSession) -> None:
        """Take over a session: from now on the context commits, rolls back and closes it."""
        if not self.is_open:
            self.require_open()
        self.sessions[connect] = session
        if self.is_retried:
            self._watch(session)
        if self.lifecycle.tracks_contexts:
            self.lifecycle.live.add(self)

    def pop(self, connect: DBConnect) -> AsyncSession | None:
        """Give a session away: whoever gets it finishes it."""
        session = self.sessions.pop(connect, None)
        if not self.sessions:
            self.lifecycle.live.discard(self)
        return session

    def transactions(self) -> Work:
        """Return the sessions that are in a transaction, in the order of their first use."""
        work: Work = []
        # Not a comprehension, nor AsyncSession's own method: each is one more call for every request (CPython 3.11).
        for entry in self.sessions.items():
            session = entry[1]
            if (session.sync_session if isinstance(session, ContextSession) else session).in_transaction():
                work.append(entry)
        return work

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent; a context that belongs to no request has none."""
        return False

    def note_commit(self) -> None:
        """Take down that something of it is committed, or may be; it is also a part of what is retried around it."""
        self.has_committed = True
        around = self.parent
        while around is not None:
            if around.is_retried:
                around.has_committed = True
            around = around.parent

    def watch_commits(self) -> None:
        """Begin what is retried: from now on a session's own ``commit()`` counts too."""
        self.is_retried = True
        for session in self.sessions.values():
            self._watch(session)

    def _watch(self, session: AsyncSession) -> None:
        sync_session = sync_session_of(session)
        if sync_session is not None:
            event.listen(sync_session, "after_commit", self._session_committed)

    def _session_committed(self, session: Session) -> None:
        # SQLAlchemy says so of a SAVEPOINT too.
        if not session.in_nested_transaction():
            self.note_commit()

    def require_open(self) -> None:
        """Raise ContextClosedError if the context has ended, or is ended now by another task."""
        if not self.is_open and (self._finisher is None or asyncio.current_task() is not self._finisher):
            raise ContextClosedError

    def adopt_finisher(self) -> None:
        """Let the current task use the context while it finishes it: commit hooks call ``db_session`` too."""
        self._finisher = asyncio.current_task()

    def end(self) -> None:
        """Forget the sessions, which are closed by now, and wake whoever waits for the end."""
        self.is_open = False
        self.has_ended = True
        if self.record is not None:
            self.record.end()
        # Tasks that start each other would chain their contexts for ever.
        self.parent = None
        self.owner = None
        self._finisher = None
        if self.sessions:
            self.sessions.clear()
            self.lifecycle.live.discard(self)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done once the context has ended: for a shutdown that waits for it."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
        return self._closed


# Contexts that the application opens and ends itself are not waited for at a shutdown.
_own_contexts = Lifecycle(observers=(), tracks_contexts=False)


def current_context() -> Context:
    """Return the current context, open or ended.

    Raises:
        ContextNotInitiatedError: there is none.

    """
    context = context_or_none()
    if context is None:
        raise ContextNotInitiatedError
    return context


def make_current(context: Context) -> Token[Context | None]:
    """Make a context the current one, for good in a task whose only work it is; return a token to leave it."""
    return _current.set(context)


def open_context(lifecycle: Lifecycle | None = None) -> tuple[Context, Token[Context | None]]:
    """Open a context and make it the current one.

    Args:
        lifecycle: how it ends; by default as the current context would.

    Returns:
        The context, and the token by which ``leave_context`` makes the previous one current again.

    """
    parent = context_or_none()
    if lifecycle is None:
        lifecycle = _own_contexts if parent is None else parent.lifecycle
    context = Context(lifecycle, parent)
    return context, _current.set(context)


def leave_context(token: Token[Context | None]) -> None:
    """Make the previous context current again; unlike ``ContextVar.reset`` this works from any task, repeatedly."""
    previous = token.old_value
    _current.set(None if previous is Token.MISSING else previous)


def init_db_session_ctx(force: bool = False) -> Token[Context | None]:  # noqa: FBT001, FBT002 - published signature
    """Open a context: for a middleware of one's own.

    Args:
        force: open a nested one where a context is open already.

    Returns:
        The token for :func:`reset_db_session_ctx`.

    Raises:
        ContextAlreadyInitiatedError: a context is open, and ``force`` is not set.

    """
    if not force and is_context_initiated():
        raise ContextAlreadyInitiatedError
    return open_context()[1]


def is_context_initiated() -> bool:
    """Tell whether a context is open here; one that has ended does not count."""
    context = context_or_none()
    return context is not None and context.is_open


async def reset_db_session_ctx(
    token: Token[Context | None],
    with_close: bool = True,  # noqa: FBT001, FBT002 - published signature
) -> None:
    """Leave the context that ``init_db_session_ctx`` opened.

    Args:
        token: what ``init_db_session_ctx`` returned. It may be used from another task than it was made in.
        with_close: also close the sessions, rolling back what was not committed.

    """
    context = _current.get()
    try:
        if context is not None:
            if with_close:
                await finish(context, commit=None)
            else:
                context.end()
    finally:
        leave_context(token)


def get_db_session_from_context(connect: DBConnect) -> AsyncSession | None:
    """Return the session that the context has for a connection, or None.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    return current_context().session(connect)


def put_db_session_to_context(connection: DBConnect, session: AsyncSession) -> None:
    """Give the context a session for a connection; the context finishes it.

    Raises:
        ContextNotInitiatedError: no context is open.
        ContextClosedError: the context has ended.

    """
    current_context().put(connection, session)


def pop_db_session_from_context(connect: DBConnect) -> AsyncSession | None:
    """Take the session of a connection out of the context; the caller finishes it.

    Returns:
        The session, or None if there is none, or no context.

    """
    context = context_or_none()
    return None if context is None else context.pop(connect)
