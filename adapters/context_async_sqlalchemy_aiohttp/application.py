"""Setting an aiohttp application up: where the middleware goes, and what happens when the application stops."""

from collections.abc import AsyncIterator, Iterable

from aiohttp import web

from context_async_sqlalchemy.connect import DBConnect
from context_async_sqlalchemy.lifecycle import (
    DEFAULT_DRAIN_TIMEOUT,
    DEFAULT_FINISH_TIMEOUT,
    AfterCommitCallback,
    BeforeCommitCallback,
    CommitRule,
    Lifecycle,
    commits_below_400,
)

from .middleware import db_context_middleware, release_before_headers

LIFECYCLE = web.AppKey("context_async_sqlalchemy_lifecycle", Lifecycle)


def setup_db(
    app: web.Application,
    connections: Iterable[DBConnect],
    *,
    commit_on: CommitRule = commits_below_400,
    before_commit: BeforeCommitCallback | None = None,
    after_commit: AfterCommitCallback | None = None,
    finish_timeout: float = DEFAULT_FINISH_TIMEOUT,
    drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
    position: int | None = None,
) -> None:
    """Give every request of an aiohttp application a database context.

    Args:
        app: the application, before it starts and before ``parent.add_subapp(prefix, app)``. A sub-application
            of one that is set up needs no call of its own; with one, the request has the parent's context.
        connections: disposed of when the application stops, after its last request has finished.
        commit_on: given a response's status, whether it commits; by default those below 400.
        before_commit: awaited with the session before each commit; an exception prevents the commit.
        after_commit: awaited with the session after each commit, before the response is sent.
        finish_timeout: seconds that a commit or a close may take before its connection is invalidated.
        drain_timeout: seconds that shutdown waits for requests that are still finishing.
        position: index in ``app.middlewares``, 0 being the outermost. By default outermost, but inside of
            leading OpenTelemetry middlewares, so that the commit is part of the request's span.

    Raises:
        TypeError: ``app`` is no ``web.Application``, or an element of ``connections`` no DBConnect.
        ValueError: a connection is given twice, or a time limit is not positive.
        RuntimeError: the application has started, is a sub-application already, or was set up before.

    """
    _require_changeable(app)
    lifecycle = Lifecycle(
        connections,
        commit_on=commit_on,
        before_commit=before_commit,
        after_commit=after_commit,
        finish_timeout=finish_timeout,
        drain_timeout=drain_timeout,
    )

    async def shut_down_after_requests(_app: web.Application) -> AsyncIterator[None]:
        yield
        await lifecycle.shut_down()

    app[LIFECYCLE] = lifecycle
    app.middlewares.insert(_default_position(app) if position is None else position, db_context_middleware(lifecycle))
    app.on_response_prepare.append(release_before_headers)
    # Not on_shutdown: that signal is sent before the requests in flight get their grace period.
    app.cleanup_ctx.append(shut_down_after_requests)


def _require_changeable(app: object) -> None:
    if not isinstance(app, web.Application):
        raise TypeError(f"setup_db takes an aiohttp web.Application, got {app!r}")
    if app.frozen:
        raise RuntimeError("setup_db was called after the application had started: call it before web.run_app(app)")
    if app.pre_frozen:
        raise RuntimeError(
            "setup_db was called after parent.add_subapp(prefix, app), which freezes the sub-application: call it "
            "before add_subapp, or on the parent, whose contexts the sub-application shares"
        )
    if LIFECYCLE in app:
        raise RuntimeError("setup_db was called twice for one application: call it once, with all connections")


def _default_position(app: web.Application) -> int:
    position = 0
    for middleware in app.middlewares:
        if not getattr(middleware, "__module__", "").startswith("opentelemetry."):
            break
        position += 1
    return position
