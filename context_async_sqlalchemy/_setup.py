"""``setup_db``, which finds the adapter for an application by entry points, as SQLAlchemy finds dialects."""

import inspect
from collections.abc import Callable, Iterable
from typing import TypedDict, Unpack

from ._context.route_names import DEFAULT_MAX_ROUTES
from ._context.rules import (
    DEFAULT_FINISH_TIMEOUT,
    AfterCommitCallback,
    BeforeCommitCallback,
    CommitRule,
    commits_below_400,
)
from ._plugins import adapter_for
from .adapter_kit.lifecycle import DEFAULT_DRAIN_TIMEOUT, LifecycleOptions
from .adapter_kit.metrics_access import MetricsAccess
from .adapter_kit.setup import unknown_option
from .connect import DBConnect
from .observer import Observer


class FrameworkOptions(TypedDict, total=False):
    """The options that only some frameworks have."""

    metrics_path: str | None
    position: int | None


def setup_db(
    app: object,
    connections: Iterable[DBConnect],
    *,
    commit_on: CommitRule = commits_below_400,
    before_commit: BeforeCommitCallback | None = None,
    after_commit: AfterCommitCallback | None = None,
    finish_timeout: float = DEFAULT_FINISH_TIMEOUT,
    drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
    observers: Iterable[Observer] | None = None,
    leak_threshold: float | None = None,
    leak_stacks: bool = False,
    max_routes: int = DEFAULT_MAX_ROUTES,
    metrics_access: MetricsAccess | None = None,
    inspector_path: str | None = None,
    check_at_start: bool = False,
    processes: int | None = None,
    answer_503: bool = True,
    **framework_options: Unpack[FrameworkOptions],
) -> None:
    """Give every request of an application a database context. Call it before the application starts.

    Args:
        app: the application. The package name of its framework finds the adapter.
        connections: the databases of the application. They are disposed of when the application stops, after the last
            request.
        commit_on: returns whether a response with a given status commits. The default commits below 400.
        before_commit: awaited with each session before the first COMMIT. An exception prevents the commit.
        after_commit: awaited with each session after the last COMMIT, before the response is sent.
        finish_timeout: seconds that a COMMIT, a ROLLBACK or a close may take before the connection is invalidated.
            The ``after_commit`` hooks of one commit get as many seconds together.
        drain_timeout: seconds that a shutdown waits for open contexts.
        observers: the observers of the connections, instead of those that installed extras bring (``prometheus``,
            ``opentelemetry``). ``()`` means no observers.
        leak_threshold: seconds that a connection may be held before a warning names its holder. None never warns.
        leak_stacks: also name in those warnings where the connection was checked out.
        max_routes: the number of different routes in metrics, spans and warnings. The rest count as ``other``.
        metrics_access: who may scrape: a bearer token, or a function that returns whether a request with these headers
            may. The names of the headers are in lower case. None lets everybody who reaches the path scrape.
        inspector_path: the path of a page that shows the pools and the open sessions now, for example ``"/_db"``. The
            application logs the token that opens it. None, the default, serves no such page.
        check_at_start: open each connection once before the first request. If one cannot be opened, the application
            does not start. A warning with the arithmetic says if the pools of all processes may open more connections
            than PostgreSQL allows. The default starts without a database, and a request meets its errors.
        processes: the number of processes that run the application, for that warning. The default is the number of
            Sanic's workers, or else the environment variable ``WEB_CONCURRENCY``, or else 1.
        answer_503: answer a :class:`PoolOverloadedError` that no handler of the application has handled by 503, with
            ``Retry-After``. A websocket is refused, or closed with 1013.
        framework_options: further options of the framework's ``setup_db`` (``metrics_path``, and for aiohttp and
            Starlette ``position``).

    Raises:
        TypeError: no adapter fits the application, an element of ``connections`` is not a DBConnect, one of
            ``observers`` is not an Observer, the framework has no such option, or an option has the wrong type.
        ValueError: a connection is given twice, two have the same name, an option has no possible value, or
            ``metrics_path`` was given and no observer can be scraped.
        RuntimeError: the application has already started, or cannot be changed any more.

    """
    adapter = adapter_for(app)
    setup: Callable[..., None] = adapter.load()
    _require_known(framework_options, setup, adapter.name)
    setup(
        app,
        connections,
        commit_on=commit_on,
        before_commit=before_commit,
        after_commit=after_commit,
        finish_timeout=finish_timeout,
        drain_timeout=drain_timeout,
        observers=observers,
        leak_threshold=leak_threshold,
        leak_stacks=leak_stacks,
        max_routes=max_routes,
        metrics_access=metrics_access,
        inspector_path=inspector_path,
        check_at_start=check_at_start,
        processes=processes,
        answer_503=answer_503,
        **framework_options,
    )


def _require_known(given: Iterable[str], setup: Callable[..., None], framework: str) -> None:
    """Refuse the options that an adapter does not have, and suggest those that are spelled alike.

    Args:
        given: the names of the options that :func:`setup_db` itself does not have.
        setup: the adapter's function. Its keyword-only parameters are the framework's own options.
        framework: the name of the framework.

    """
    parameters = inspect.signature(setup).parameters.values()
    own = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in given:
        if name not in own:
            raise unknown_option(name, LifecycleOptions.__annotations__, framework, own)
