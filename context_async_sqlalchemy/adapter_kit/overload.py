"""The answer to a request that was shed: ``PoolOverloadedError`` has left the application's own code."""

import logging
import math
from time import monotonic
from typing import NamedTuple

from context_async_sqlalchemy.exceptions import PoolOverloadedError

logger = logging.getLogger("context_async_sqlalchemy")

TRY_AGAIN_LATER = 1013
"""The code by which a websocket is closed (IANA WebSocket Close Code Number Registry)."""

_SAY_AGAIN_AFTER = 10.0
"""Seconds between two warnings of one pool, because an overloaded application sheds many requests a second."""

_said: dict[str, float] = {}


class OverloadAnswer(NamedTuple):
    """An HTTP response: the service is overloaded, and the client may try again later."""

    status: int
    headers: dict[str, str]
    body: bytes


def overload_answer(error: PoolOverloadedError) -> OverloadAnswer:
    """Return the 503 for a shed request, with ``Retry-After``; log why, at most every ten seconds for each pool.

    The response does not name the pool or the holders of its connections, because any client may read it.

    Args:
        error: the exception that has reached the framework.

    """
    now = monotonic()
    if now >= _said.get(error.pool, -math.inf) + _SAY_AGAIN_AFTER:
        _said[error.pool] = now
        why = "\n".join((str(error), *getattr(error, "__notes__", ())))
        logger.warning("requests are answered by 503: %s. This is said again after %g s", why, _SAY_AGAIN_AFTER)
    headers = {"content-type": "text/plain; charset=utf-8", "retry-after": str(error.retry_after)}
    return OverloadAnswer(503, headers, b"The service is overloaded. Try again later.\n")
