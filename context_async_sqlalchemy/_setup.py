"""``setup_db``: finds the adapter for the application it is given, by entry points, as SQLAlchemy finds dialects."""

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
    **framework_options: Any,
) -> None:
    """Give every request of an application a database context; call it before the application starts.

    Args:
        app: the application; its framework's adapter is found by the name of the framework's package.
        connections: what the application connects to; disposed of when it stops, after the last request.
        commit_on: given a response's status, whether it commits; by default those below 400.
        before_commit: awaited with the session before each commit; an exception prevents the commit.
        after_commit: awaited with the session after each commit, before the response is sent.
        finish_timeout: seconds that a COMMIT, a ROLLBACK or a close may take before the connection is invalidated.
        drain_timeout: seconds that shutdown waits for requests that are still finishing.
        observers: told what happens on the connections, in place of those that installed extras bring
            (``prometheus``, ``opentelemetry``); ``()`` for nobody.
        leak_threshold: seconds that a connection may be held before a warning names its holder; None for never.
        leak_stacks: let those warnings name where the connection was taken, too.
        framework_options: what the framework's own ``setup_db`` takes beside (``metrics_path``; aiohttp and
            Starlette: ``position``).

    Raises:
        TypeError: no adapter fits the application, an element of ``connections`` is no DBConnect, or one of
            ``observers`` no Observer.
        ValueError: a connection is given twice, or a time limit is not positive.
        RuntimeError: the application has started already, or cannot be changed any more.

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
        **framework_options,
    )
