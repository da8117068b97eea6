"""The container in the ContextVar: the sessions of one unit of work, and whether it is still open."""

import asyncio
from typing import Protocol

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from context_async_sqlalchemy.exceptions import ContextClosedError
from context_async_sqlalchemy.observer import ReleaseCause

from .context_session import ContextSession, sync_session_of
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

    A context is open until :func:`~context_async_sqlalchemy.auto_commit.finish` begins; from then on only the
    task that finishes it (and the commit hooks that run there) may use it.

    Args:
        rules: how it ends.
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
        "owner",
        "parent",
        "record",
        "releasing",
        "rollback_only",
        "rules",
        "sessions",
    )

    def __init__(self, rules: Rules, parent: "Context | None" = None, owner: object = None) -> None:
        self.is_open = True
        # Between the two, what is left to flush and to commit takes its connection.
        self.has_ended = False
        self.owner = owner
        self.rules = rules
        self.parent = parent
        self.sessions: dict[Database, AsyncSession] = {}
        self.rollback_only = False
        # Something of it is committed, or may be: it cannot be run again.
        self.has_committed = False
        # Whether what runs in it now is run again if the database refuses it.
        self.is_retried = False
        # What observers are told; made at the first checkout, if there is an observer.
        self.record: Record | None = None
        # By what connections are given back at this moment, where their transactions' outcome does not tell.
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
        """Take a session over unless there is one already; return the one there is then.

        Raises:
            ContextClosedError: the context has ended.

        """
        present = self.session(connect)
        if present is not None:
            return present
        self.put(connect, session)
        return session

    def put(self, connect: Database, session: AsyncSession) -> None:
        """Take over a session: from now on the context commits, rolls back and closes it."""
        if not self.is_open:
            self.require_open()
        self.sessions[connect] = session
        if self.is_retried:
            self._watch(session)
        if self.rules.tracks_contexts:
            self.rules.live.add(self)

    def pop(self, connect: Database) -> AsyncSession | None:
        """Give a session away: whoever gets it finishes it."""
        session = self.sessions.pop(connect, None)
        if not self.sessions:
            self.rules.live.discard(self)
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

    def mark_committed(self) -> None:
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
            self.mark_committed()

    def require_open(self) -> None:
        """Raise ContextClosedError if the context has ended, or is ended now by another task."""
        if not self.is_open and (self._finisher is None or asyncio.current_task() is not self._finisher):
            raise ContextClosedError

    def allow_current_task(self) -> None:
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
            self.rules.live.discard(self)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done once the context has ended: for a shutdown that waits for it."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
        return self._closed
