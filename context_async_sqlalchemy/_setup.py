"""``setup_db``, which finds the adapter for an application by entry points, as SQLAlchemy finds dialects."""

from collections.abc import Iterable
from typing import Any

from ._context.rules import (
    DEFAULT_FINISH_TIMEOUT,
    AfterCommitCallback,
    BeforeCommitCallback,
    CommitRule,
    commits_below_400,
)
from ._plugins import adapter_for
from .adapter_kit.lifecycle import DEFAULT_DRAIN_TIMEOUT
from .adapter_kit.metrics_access import MetricsAccess
from .connect import DBConnect
from .observer import Observer


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
    metrics_access: MetricsAccess | None = None,
    **framework_options: Any,
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
        metrics_access: who may scrape: a bearer token, or a function that returns whether a request with these headers
            may. The names of the headers are in lower case. None lets everybody who reaches the path scrape.
        framework_options: further options of the framework's ``setup_db`` (``metrics_path``, and for aiohttp and
            Starlette ``position``).

    Raises:
        TypeError: no adapter fits the application, an element of ``connections`` is not a DBConnect, one of
            ``observers`` is not an Observer, or ``metrics_access`` is neither a token nor a function that returns a
            bool.
        ValueError: a connection is given twice, a time limit is not positive, ``metrics_access`` is no bearer token, or
            ``metrics_path`` was given and no observer can be scraped.
        RuntimeError: the application has already started, or cannot be changed any more.

    """
    adapter_for(app).load()(
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
        metrics_access=metrics_access,
        **framework_options,
    )
