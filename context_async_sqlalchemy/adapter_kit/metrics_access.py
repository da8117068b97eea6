"""Who may scrape: the option ``metrics_access`` of ``setup_db``."""

import hmac
import inspect
import logging
import re
from collections.abc import Callable, Mapping

from context_async_sqlalchemy.observer import ResourceAnswer

logger = logging.getLogger("context_async_sqlalchemy")

Headers = Mapping[str, str]
"""The headers of a request, with names in lower case."""

MetricsAccess = str | Callable[[Headers], bool]
"""A bearer token, or a function that returns whether a request with these headers may scrape."""


Check = Callable[[Headers], ResourceAnswer | None]
"""Returns the answer for a request that may not scrape, and None for a request that may."""

_UNAUTHORIZED = ResourceAnswer(401, [("WWW-Authenticate", "Bearer")], b"")
_FORBIDDEN = ResourceAnswer(403, [], b"")
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""The characters of a bearer token by RFC 6750."""


def checked_access(access: MetricsAccess | None) -> Check:
    """Return the check of the scrapes. The token is in no message and in no ``repr``.

    Args:
        access: the option ``metrics_access``; None lets everybody scrape.

    Raises:
        TypeError: the option is neither a string nor a function, or the function is asynchronous.
        ValueError: the string is not a bearer token, for example because it is empty.

    """
    if access is None:
        return _allow
    if isinstance(access, str):
        if _TOKEN.fullmatch(access) is None:
            raise ValueError(
                "metrics_access is not a bearer token: a token has at least one character, and only letters, digits "
                "and -._~+/ with = at its end. Pass the token alone, without the word Bearer. To let everybody "
                "scrape, leave metrics_access out"
            )
        return _BearerToken(access).refuse
    if not callable(access):
        raise TypeError(
            "metrics_access is a bearer token (str), or a function of the request's headers that returns a bool: got "
            f"an object of type {type(access).__name__}"
        )
    if inspect.iscoroutinefunction(access) or inspect.iscoroutinefunction(getattr(access, "__call__", None)):  # noqa: B004 - an object with an asynchronous __call__
        raise TypeError(
            "metrics_access is an asynchronous function, which cannot be called here: pass one that returns a bool. "
            "If it has to ask another service, pass metrics_path=None, and serve the metrics from a handler of yours"
        )
    return _Function(access).refuse


def _allow(_headers: Headers) -> None:
    return None


class _BearerToken:
    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def refuse(self, headers: Headers) -> ResourceAnswer | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        # Bytes, because compare_digest takes only strings of ASCII, and a client may send others.
        is_equal = hmac.compare_digest(token.strip().encode(errors="replace"), self._token)
        return None if is_equal and scheme.lower() == "bearer" else _UNAUTHORIZED


class _Function:
    def __init__(self, allows: Callable[[Headers], object]) -> None:
        self._allows = allows
        self._has_failed = False

    def refuse(self, headers: Headers) -> ResourceAnswer | None:
        try:
            allowed = self._allows(headers)
        except Exception as error:  # noqa: BLE001 - logged; a check that fails refuses
            # Without the error's text, because it may have parts of the headers.
            self._complain(f"raised {type(error).__name__}")
            return _FORBIDDEN
        if not isinstance(allowed, bool):
            # An object such as a coroutine is true, so it would let everybody in.
            self._complain(f"returned an object of type {type(allowed).__name__}, and not a bool")
            return _FORBIDDEN
        return None if allowed else _FORBIDDEN

    def _complain(self, what: str) -> None:
        # Once, because anybody can send requests that fail.
        if not self._has_failed:
            self._has_failed = True
            logger.error("metrics_access %s: the scrape is answered by 403; this is said once", what)
