"""A unit of work: its sessions, and whether it is still open."""

import asyncio
from typing import Protocol

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from context_async_sqlalchemy.observer import ReleaseCause

from .context_session import sync_session_of
from .late_use import refuse
from .rules import Rules


class Database(Protocol):
    """A database that a context has a session for: a ``DBConnect``."""

    @property
    def name(self) -> str:
        """The name of the database in errors and logs."""
        ...

    def __hash__(self) -> int:
        """Return the hash by which a context keeps the database's session."""
        ...


class Record(Protocol):
    """A context's record for observers, as far as the context's end fills it."""

    is_to_commit: bool | None

    @property
    def route(self) -> str:
        """The route of the context's request."""
        ...

    def attempt_failed(self, sqlstate: str, attempt: int, error: BaseException) -> None:
        """Tell the observers that a part of the context is run again."""
        ...

    def commit_failed(self, error: BaseException) -> None:
        """Record that the commit at the end of the context has raised."""
        ...

    def end(self) -> None:
        """Complete the record and hand it to the observers."""
        ...


Entry = tuple[Database, AsyncSession]
Work = list[Entry]


class Context:
    """The sessions of one unit of work (a request, a job, a message).

    A context is open until its end begins. From then on only commit hooks may use it.

    Args:
        rules: the rules by which the context ends.
        parent: the open context in which this one was opened. This context keeps it until its own end.
        owner: the framework's request that the context was opened for, so that a nested set-up finds the context.

    """

    def __init__(self, rules: Rules, parent: "Context | None" = None, owner: object = None) -> None:
        self.is_open = True
        # `is_open` becomes False when the end begins, and `has_ended` becomes True when it is complete. In between, the
        # last flush and the COMMIT may still check out a connection.
        self.has_ended = False
        self.owner = owner
        self.rules = rules
        self.parent = parent
        self.sessions: dict[Database, AsyncSession] = {}
        self.rollback_only = False
        # A part of the context is committed, or may be, so that the context cannot be run again.
        self.has_committed = False
        # Whether the function that runs in the context is run again if the database refuses its transaction.
        self.is_retried = False
        # The first checkout makes the record, if there is an observer.
        self.record: Record | None = None
        # Why connections are being returned right now, if the outcome of their transactions alone does not say it.
        self.releasing: ReleaseCause | None = None
        self._finisher: asyncio.Task[object] | None = None
        self._closed: asyncio.Future[None] | None = None

    def session(self, connect: Database) -> AsyncSession | None:
        """Return the session of a connection, if there is one.

        Raises:
            ContextClosedError: the context has ended.

        """
        self.require_open()
        return self.sessions.get(connect)

    def put_if_absent(self, connect: Database, session: AsyncSession) -> AsyncSession:
        """Add a session unless the context has one for the connection; return the session that the context has.

        Raises:
            ContextClosedError: the context has ended.

        """
        present = self.session(connect)
        if present is not None:
            return present
        self.put(connect, session)
        return session

    def put(self, connect: Database, session: AsyncSession) -> None:
        """Add a session, which the context commits or rolls back, and closes."""
        self.require_open()
        self.sessions[connect] = session
        if self.is_retried:
            self._watch(session)
        if self.rules.tracks_contexts:
            self.rules.live.add(self)

    def pop(self, connect: Database) -> AsyncSession | None:
        """Remove a session and return it. The caller ends it."""
        session = self.sessions.pop(connect, None)
        if not self.sessions:
            self.rules.live.discard(self)
        return session

    def transactions(self) -> Work:
        """Return the sessions that are in a transaction, in the order in which the context got them."""
        return [entry for entry in self.sessions.items() if entry[1].in_transaction()]

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent; a context that belongs to no request has none."""
        return False

    def mark_committed(self) -> None:
        """Record that a part of the context has, or may have, been committed.

        Enclosing contexts whose function is retried are marked too, because this context is a part of the function.
        """
        self.has_committed = True
        parent = self.parent
        while parent is not None:
            if parent.is_retried:
                parent.has_committed = True
            parent = parent.parent

    def count_own_commits(self) -> None:
        """Mark the context as retried: from now on ``commit()`` of its sessions counts as a commit of the context."""
        self.is_retried = True
        for session in self.sessions.values():
            self._watch(session)

    def _watch(self, session: AsyncSession) -> None:
        sync_session = sync_session_of(session)
        if sync_session is not None:
            event.listen(sync_session, "after_commit", self._session_committed)

    def _session_committed(self, session: Session) -> None:
        # SQLAlchemy sends this event for a SAVEPOINT too.
        if not session.in_nested_transaction():
            self.mark_committed()

    def require_open(self) -> None:
        """Raise ContextClosedError if the context has ended, or another task is ending it."""
        if not self.is_open and (self._finisher is None or asyncio.current_task() is not self._finisher):
            refuse()

    def allow_current_task(self) -> None:
        """Allow the current task to use the context during its end, because commit hooks call ``db_session`` too."""
        self._finisher = asyncio.current_task()

    def end(self) -> None:
        """Mark the context as ended: forget its sessions, which are closed by now, and wake a waiting shutdown."""
        self.is_open = False
        self.has_ended = True
        if self.record is not None:
            self.record.end()
        # Otherwise tasks that start each other would chain their contexts without end.
        self.parent = None
        self.owner = None
        self._finisher = None
        if self.sessions:
            self.sessions.clear()
            self.rules.live.discard(self)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    @property
    def closed(self) -> asyncio.Future[None]:
        """A future that is done once the context has ended. A shutdown waits for it."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
        return self._closed
