"""The ContextVar that holds the current context: apart, because what a context is made of reads it too."""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Context

current: ContextVar["Context | None"] = ContextVar("context_async_sqlalchemy", default=None)
