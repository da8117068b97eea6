"""The calls that the machine makes: the library's own, or a rival's that a control puts in their place."""

from collections.abc import Callable
from typing import Any

import context_async_sqlalchemy as library


class Api:
    """The public API; a subclass replaces a call by a naive one."""

    atomic_db_session: Callable[..., Any] = staticmethod(library.atomic_db_session)
    close_db_session: Callable[..., Any] = staticmethod(library.close_db_session)
    commit_all_sessions: Callable[..., Any] = staticmethod(library.commit_all_sessions)
    commit_db_session: Callable[..., Any] = staticmethod(library.commit_db_session)
    db_context: Callable[..., Any] = staticmethod(library.db_context)
    rollback_db_session: Callable[..., Any] = staticmethod(library.rollback_db_session)
