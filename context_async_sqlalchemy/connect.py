"""``DBConnect``: one database of the application, with a lazily made engine and session maker."""

import logging
import uuid
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from ._connecting import PasswordSource, prepare_connects
from ._context.checks import check_hook, check_name, check_text, require_awaitable
from ._context.context_session import context_session
from ._engine_creation import (
    EngineCreatorFunc,
    SessionMakerCreatorFunc,
    address_of,
    by_engine,
    by_function,
    by_url,
    make_session_maker,
    require_async,
    require_async_maker,
    require_creator,
)
from ._engine_disposal import dispose, reuse
from ._failed_transactions import refuse_failed_commits
from ._observing.listeners import Listeners, Observation
from ._observing.probe import Probe
from ._observing.whole_process import join
from ._pool_queue import hand_places_on
from ._redaction import url_of, without_login
from ._shedding.limits import MaxWait, require_valid
from ._shedding.queue import limit_waits

logger = logging.getLogger("context_async_sqlalchemy")

BeforeCreateSessionHandler = Callable[["DBConnect"], Coroutine[Any, Any, None]]


class DBConnect:
    """The engine and the session maker of one database. The first use makes both.

    Args:
        engine_creator: returns the AsyncEngine for a host. A function without parameters will do for an application
            that knows only one host.
        session_maker_creator: returns the session maker for that engine. The default makes sessions whose objects stay
            readable after a commit (``expire_on_commit=False``).
        host: the host of the first engine. The default is that of the parameter of ``engine_creator``. Without any,
            call ``connect(host)`` before the first use.
        before_create_session_handler: awaited with this object before each new session. The handler may check that
            the host is alive, or is the primary, and call ``change_host``.
        name: the name of this connection in errors, metrics and spans. The default is the address and the database
            of the engine.
        max_wait: seconds that a checkout may wait for a connection before it gets :class:`PoolOverloadedError`, or
            ``"adaptive"``: as long as ``pool_timeout``, but 0.1 s while no checkout of the last second got its
            connection within 0.05 s. The time to open a connection does not count. None leaves ``pool_timeout``.
        max_waiting: how many checkouts may wait at the same time. One more gets the exception at once. None allows any
            number.

    Raises:
        TypeError: a creator or the handler is not a function, a creator is async, or another argument has the wrong
            type.
        ValueError: the host or the name is an empty string, ``engine_creator`` takes no host but one is given, or a
            limit is not valid.

    """

    def __init__(
        self,
        engine_creator: EngineCreatorFunc | Callable[[], AsyncEngine],
        session_maker_creator: SessionMakerCreatorFunc = make_session_maker,
        host: str | None = None,
        before_create_session_handler: BeforeCreateSessionHandler | None = None,
        *,
        name: str | None = None,
        max_wait: MaxWait = None,
        max_waiting: int | None = None,
    ) -> None:
        require_creator("engine_creator", engine_creator, "AsyncEngine")
        require_creator("session_maker_creator", session_maker_creator, "async_sessionmaker")
        check_hook("before_create_session_handler", before_create_session_handler, takes="a DBConnect")
        if name is not None:
            check_name("the name of a DBConnect", name)
        self._engine_creator, first_host = by_function(engine_creator, host)
        if first_host is not None:
            _required(first_host)
        require_valid(max_wait, max_waiting)
        self.context_key = str(uuid.uuid4())
        self.host = first_host
        # Whether a `setup_db` has been given this object.
        self.is_set_up = False
        self._is_reported = False
        self._name = name
        self._url: URL | None = None
        self._password: PasswordSource | None = None
        self._max_wait: MaxWait = max_wait
        self._max_waiting = max_waiting
        self._session_maker_creator = session_maker_creator
        self._before_create_session_handler = before_create_session_handler
        self._engine: AsyncEngine | None = None
        self._session_maker: async_sessionmaker[AsyncSession] | None = None
        self._substitute: async_sessionmaker[AsyncSession] | None = None
        self._observations = join(self)
        self._probe: Probe | None = None

    @classmethod
    def from_url(
        cls,
        url: str | URL,
        *,
        name: str | None = None,
        password: str | PasswordSource | None = None,
        before_create_session_handler: BeforeCreateSessionHandler | None = None,
        max_wait: MaxWait = None,
        max_waiting: int | None = None,
        **engine_options: Any,
    ) -> Self:
        """Return a DBConnect for a URL, with sessions whose objects stay readable after a commit.

        Args:
            url: a SQLAlchemy URL with an async driver. ``change_host`` replaces the host of the URL (``"host"`` or
                ``"host:port"``) and keeps the rest.
            name: see the class. The default is the address and the database of the URL.
            password: replaces the password of the URL. A function, or a coroutine function, is called for each new
                connection, so that a token may expire. A function must not block, because it runs in the event loop.
            before_create_session_handler: see the class.
            max_wait: see the class.
            max_waiting: see the class.
            engine_options: passed to ``sqlalchemy.ext.asyncio.create_async_engine``.

        Raises:
            sqlalchemy.exc.ArgumentError: the URL cannot be parsed.
            ValueError: the driver of the URL is not async or takes no ``password``, the name is empty, or a limit is
                not valid.
            TypeError: an engine option is unknown, or ``password`` is neither a str nor callable.
            ImportError: the driver of the URL is not installed.

        """
        parsed = url_of(url)
        make_engine, own_host = by_url(parsed, engine_options, password)
        connection = cls(
            make_engine,
            make_session_maker,
            own_host,
            before_create_session_handler,
            name=name,
            max_wait=max_wait,
            max_waiting=max_waiting,
        )
        connection._url = parsed
        connection._password = password if callable(password) else None
        return connection

    @classmethod
    def from_engine(
        cls,
        engine: AsyncEngine,
        *,
        session_maker_creator: SessionMakerCreatorFunc = make_session_maker,
        name: str | None = None,
        before_create_session_handler: BeforeCreateSessionHandler | None = None,
        max_wait: MaxWait = None,
        max_waiting: int | None = None,
    ) -> Self:
        """Return a DBConnect for an engine that the application has made. ``setup_db`` disposes of it at shutdown.

        Args:
            engine: the engine. It is used again after a ``close``, and it cannot change its host.
            session_maker_creator: see the class.
            name: see the class.
            before_create_session_handler: see the class.
            max_wait: see the class.
            max_waiting: see the class.

        Raises:
            TypeError: the engine is not an AsyncEngine.
            ValueError: the name is empty, or a limit is not valid.

        """
        make_engine, own_host = by_engine(require_async(engine))
        return cls(
            make_engine,
            session_maker_creator,
            own_host,
            before_create_session_handler,
            name=name,
            max_wait=max_wait,
            max_waiting=max_waiting,
        )

    def __repr__(self) -> str:
        host = None if self.host is None else without_login(self.host)
        return f"<DBConnect {self.name!r} host={host!r}>"

    @property
    def name(self) -> str:
        """The given name, or else the address and the database of the engine, or else the host."""
        if self._name is not None:
            return self._name
        url = self._url if self._engine is None else self._engine.url
        if url is None:
            return without_login(self.host or "unnamed")
        return f"{address_of(url)}/{url.database}" if url.host else str(url.database)

    @property
    def is_named(self) -> bool:
        """Whether the name is known before the engine is made."""
        return self._name is not None or self._url is not None

    @property
    def limits_waits(self) -> bool:
        """Whether ``max_wait`` or ``max_waiting`` is set."""
        return self._max_wait is not None or self._max_waiting is not None

    @property
    def engine(self) -> AsyncEngine | None:
        """The current engine, or None before the first use and after ``close``."""
        return self._engine

    def ensure_engine(self) -> AsyncEngine:
        """Return the current engine, which is made if there is none yet: for code that needs it before the first use.

        It opens no connection, needs no event loop, and does not await ``before_create_session_handler``.

        Raises:
            ValueError: no host was given.
            TypeError: ``engine_creator`` returned no AsyncEngine.

        """
        if self._engine is None:
            self._connect(self.host)
        engine = self._engine
        assert engine is not None  # noqa: S101 - `_connect` has set it
        return engine

    async def connect(self, host: str) -> None:
        """Make the engine for a host now. It replaces the current engine.

        Raises:
            ValueError: the host is empty.

        """
        await self._switch(_required(host))

    async def change_host(self, host: str) -> None:
        """Use another host from now on. If the host is the current host, nothing happens.

        Sessions in flight finish on the old engine, and each of its connections is closed when it is returned. Idle
        connections are closed before this method returns. An old host that no longer answers gets two seconds.

        Raises:
            ValueError: the host is empty.

        """
        if _required(host) != self.host:
            await self._switch(host)

    async def create_session(self) -> AsyncSession:
        """Return a new session, which holds no connection before its first statement."""
        return context_session(await self.session_maker())

    async def session_maker(self) -> async_sessionmaker[AsyncSession]:
        """Return the session maker. The first use makes it.

        Raises:
            ValueError: no host was given.

        """
        if self._before_create_session_handler is not None:
            await require_awaitable(self._before_create_session_handler(self), "before_create_session_handler")
        if self._substitute is not None:
            return self._substitute
        return self._session_maker or self._connect(self.host)

    async def close(self) -> None:
        """Dispose of the engine. A later use makes a new engine."""
        engine, self._engine = self._engine, None
        self._session_maker = None
        probe, self._probe = self._probe, None
        try:
            if engine is not None:
                await dispose(engine)
        finally:
            if probe is not None:
                probe.remove()
                # A use during the disposal may have taken the same engine, which the probe still observed.
                self._renew_probe()

    def observe(self, observation: Observation) -> None:
        """Notify the observers of an application of the events of every engine of this object, current or later."""
        if observation not in self._observations:
            self._observations.append(observation)
            self._renew_probe()

    def observe_no_more(self, observation: Observation) -> None:
        """Undo an ``observe``."""
        if observation in self._observations:
            self._observations.remove(observation)
            self._renew_probe()

    def makes_sessions_like(self, session: AsyncSession) -> bool:
        """Return whether a new session would equal this one: the engine is the same, and there is no handler."""
        return self._before_create_session_handler is None and (
            self._substitute is not None or session.bind is self._engine
        )

    def report_if_not_set_up(self) -> None:
        """Log, once, that a request uses this connection, and that its application has set up others."""
        if not self.is_set_up and not self._is_reported:
            self._is_reported = True
            logger.warning(
                "connection %r is used in a request, and was not given to setup_db: it is not observed, and its "
                "connections to the server stay open when the application stops. Give setup_db all connections: "
                "setup_db(app, [..., connection])",
                self.name,
            )

    @contextmanager
    def substitute_session_maker(self, maker: async_sessionmaker[AsyncSession]) -> Generator[None]:
        """Make all sessions by another maker during the block, in every task. This is for tests."""
        previous, self._substitute = self._substitute, maker
        try:
            yield
        finally:
            self._substitute = previous

    def _connect(self, host: str | None) -> async_sessionmaker[AsyncSession]:
        # This is no coroutine, so that two tasks that race for the first use make one engine.
        if host is None:
            raise ValueError(
                f"host is not set for connection {self.name!r}: pass DBConnect(..., host=...), or await connect(host) "
                "before the first session"
            )
        engine = require_async(self._engine_creator(host))
        maker = self._session_maker_creator(engine)
        require_async_maker(maker, self.name)
        if engine is not self._engine:
            self._probe = None
            reuse(engine)
            hand_places_on(engine.sync_engine)
            refuse_failed_commits(engine.sync_engine)
            prepare_connects(engine.sync_engine, self._place(engine, host), self._password)
        self._engine, self._session_maker, self.host = engine, maker, host
        limit_waits(engine.sync_engine, self.name, self._max_wait, self._max_waiting)
        self._renew_probe()
        return maker

    def _place(self, engine: AsyncEngine, host: str) -> str:
        named = "" if self._name is None else f" {self._name!r}"
        address = address_of(engine.url) or without_login(host)
        return f"connection{named} (host {address!r}, database {engine.url.database!r})"

    def _renew_probe(self) -> None:
        if self._engine is None:
            return
        if self._probe is None:
            if self._observations:
                self._probe = Probe.install(self._engine.sync_engine, self.name, Listeners(self._observations))
        elif self._observations:
            self._probe.set_listeners(Listeners(self._observations))
        else:
            self._probe.remove()
            self._probe = None

    async def _switch(self, host: str) -> None:
        old, old_probe = self._engine, self._probe
        self._connect(host)
        if old is None:
            return
        is_replaced = old is not self._engine
        if old_probe is not None and is_replaced:
            old_probe.replaced()
        await dispose(old, is_replaced=is_replaced)


def _required(host: str) -> str:
    check_text("the host", host)
    if not host:
        raise ValueError("the host must not be empty: pass the address of the database server")
    return host
