"""The token that opens the inspector, and what is derived from it."""

import hmac
import logging
import os
import secrets
from collections.abc import Callable

logger = logging.getLogger("context_async_sqlalchemy")

TOKEN_VARIABLE = "CONTEXT_ASYNC_SQLALCHEMY_INSPECTOR_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable that has the token. The processes that this one starts find it there."""


def token_for_process(path: str, shared: Callable[[], tuple[str, bool] | None] = lambda: None) -> str:
    """Return the token of this process and of those that it starts. The first call makes it, and logs where it opens.

    Args:
        path: the path of the inspector, for the log.
        shared: returns the token of all workers of a server, and whether this call has made it; None if this process
            is no worker.

    """
    present = os.environ.get(TOKEN_VARIABLE)
    if present:
        return present
    token, is_new = shared() or (secrets.token_urlsafe(32), True)
    os.environ[TOKEN_VARIABLE] = token
    if is_new:
        # A warning, because Python prints nothing below it where no logging is configured.
        logger.warning("the inspector is at %s?token=%s: this token shows the routes and sessions", path, token)
    return token


def is_same(given: str, expected: str) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    # Bytes, because compare_digest takes only strings of ASCII, and a client may send others.
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def cookie_of(token: str) -> tuple[str, str]:
    """Return the name and the value of the cookie for a token. They are the same in all processes, and do not tell it.

    The name differs with the token, because a browser sends a cookie to all ports of a host. Two applications with one
    name would log each other's visitors out.
    """
    digest = hmac.new(token.encode(), b"context_async_sqlalchemy_inspector", "sha512").hexdigest()
    return f"context_async_sqlalchemy_inspector_{digest[:16]}", digest[64:]
