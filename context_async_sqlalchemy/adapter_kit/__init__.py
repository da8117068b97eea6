"""The names for authors of adapters: contexts, their end, and the options of ``setup_db``.

An adapter imports this module, the package's root and :mod:`~context_async_sqlalchemy.observer`, and nothing else of
the library. The names here are public. They follow the same rules for changes as the names of the root.
"""

from context_async_sqlalchemy._context.context import Context, Database, Work
from context_async_sqlalchemy._context.current import (
    context_or_none,
    current,
    current_context,
    find_contexts_by,
    leave_context,
    make_current,
    open_context,
)
from context_async_sqlalchemy._context.rules import BeforeCommitCallback, Rules
from context_async_sqlalchemy._finishing.finish import finish, finish_by_status, release_by_status, stand_ins
from context_async_sqlalchemy._redaction import kind_of, without_statements
from context_async_sqlalchemy._runtime.loop_timer import LoopTimer
from context_async_sqlalchemy._runtime.places import await_chain, calling_places

from .lifecycle import Lifecycle, LifecycleOptions
from .overload import TRY_AGAIN_LATER, OverloadAnswer, overload_answer
from .resources import DEFAULT_METRICS_PATH, path_taken
from .routes import route_name
from .server_command import workers_of_command
from .setup import called_twice, middleware_position, position_inside_tracing
from .whole_process import observe_process

__all__ = [
    "DEFAULT_METRICS_PATH",
    "TRY_AGAIN_LATER",
    "BeforeCommitCallback",
    "Context",
    "Database",
    "Lifecycle",
    "LifecycleOptions",
    "LoopTimer",
    "OverloadAnswer",
    "Rules",
    "Work",
    "await_chain",
    "called_twice",
    "calling_places",
    "context_or_none",
    "current",
    "current_context",
    "find_contexts_by",
    "finish",
    "finish_by_status",
    "kind_of",
    "leave_context",
    "make_current",
    "middleware_position",
    "observe_process",
    "open_context",
    "overload_answer",
    "path_taken",
    "position_inside_tracing",
    "release_by_status",
    "route_name",
    "stand_ins",
    "without_statements",
    "workers_of_command",
]
