"""Who may look: a token and a cookie, or a function of the application. Other sites may not ask."""

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Literal, Protocol
from urllib.parse import parse_qs, quote, urlencode

from context_async_sqlalchemy.adapter_kit import kind_of
from context_async_sqlalchemy.observer import ResourceAnswer, ResourceRequest

from .tokens import cookie_of, is_same, token_for_process

logger = logging.getLogger("context_async_sqlalchemy")

Access = Literal["all", "read-only", "none"]
"""What a visitor may do. The inspector changes nothing today, so ``all`` and ``read-only`` show the same."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""The headers of every answer."""


LOG_IN = "/log-in"
"""What follows the path of the inspector where a visitor gets the cookie. A browser sends it to that path and below."""


class Gate(Protocol):
    """Decides about requests. Every answer of the inspector passes it."""

    def access_of(self, request: ResourceRequest) -> Access:
        """Return what the visitor may do."""
        ...

    def log_in(self, request: ResourceRequest) -> ResourceAnswer | None:
        """Return the answer to a request for the page that logs in, and None if the request does not."""
        ...

    def give_cookie(self, request: ResourceRequest) -> ResourceAnswer:
        """Return the answer to a request for :data:`LOG_IN`."""
        ...

    @property
    def advice(self) -> str:
        """What a visitor has to do who may not look."""
        ...


def gate(
    access: Callable[[Mapping[str, str]], Access | None] | None,
    token: str | None,
    path: str,
    shared: Callable[[], tuple[str, bool] | None],
) -> Gate:
    """Return the gate of an inspector.

    Args:
        access: the function that decides, or None for a token.
        token: the token, or None for that of the process.
        path: the path of the inspector.
        shared: see :func:`token_for_process`.

    Raises:
        TypeError: ``access`` is not a function, or is asynchronous.
        ValueError: both are given, or the token is empty.

    """
    if access is None:
        if token is not None and not token:
            raise ValueError("the token of the inspector is empty, so every visitor knows it: pass a long random one")
        return TokenGate(token or token_for_process(path, shared))
    if token is not None:
        raise ValueError("the inspector was given access= and token=: a function decides alone, so pass one of them")
    if not callable(access) or inspect.iscoroutinefunction(access):
        raise TypeError(
            "access is a function of the request's headers that returns 'all', 'read-only' or 'none', and is not "
            f"asynchronous: got {kind_of(access)}"
        )
    return FunctionGate(access)


class TokenGate:
    """Lets those in who have the token, or the cookie that they got for it.

    Args:
        token: the token.

    """

    advice = (
        "Open the link with ?token=... that the application has written to its log at its start. "
        "If you have logged in, and come from a link of another site, reload this page."
    )

    def __init__(self, token: str) -> None:
        self._token = token
        self._name, self._cookie = cookie_of(token)

    def access_of(self, request: ResourceRequest) -> Access:
        """Return what the visitor may do."""
        return "all" if is_same(_cookie(request.headers, self._name), self._cookie) else "none"

    def log_in(self, request: ResourceRequest) -> ResourceAnswer | None:
        """Return a redirection to :data:`LOG_IN`, or a refusal, or None."""
        given = parse_qs(request.query).get("token")
        if given is None:
            return None
        if not is_same(given[0], self._token):
            return refusal("The token is not, or no longer, that of this application. " + self.advice)
        # A relative reference leads to no other host, and keeps a prefix that a proxy has taken off the path.
        name = quote(request.path.rpartition("/")[2])
        folder = f"./{name}" if name else "."
        return answer(303, [("Location", f"{folder}{LOG_IN}?{urlencode({'token': self._token})}")])

    def give_cookie(self, request: ResourceRequest) -> ResourceAnswer:
        """Return a redirection to the page without the token, with the cookie; or a refusal."""
        if not is_same(parse_qs(request.query).get("token", [""])[0], self._token):
            return refusal(self.advice)
        name = quote(request.path.removesuffix(LOG_IN).rpartition("/")[2])
        # Without Path, because only the browser knows the prefix. It takes the path up to the last slash.
        cookie = f"{self._name}={self._cookie}; HttpOnly; SameSite=Strict"
        return answer(303, [("Location", f"../{name}"), ("Set-Cookie", cookie)])


class FunctionGate:
    """Lets those in whom a function of the application lets in.

    Args:
        access: the function.

    """

    advice = "The application decides by its access= function, which says no to this request."

    def __init__(self, access: Callable[[Mapping[str, str]], Access | None]) -> None:
        self._access = access
        self._has_failed = False

    def access_of(self, request: ResourceRequest) -> Access:
        """Return what the visitor may do."""
        try:
            # The type does not bind the function of an application.
            access: object = self._access(request.headers)
        except Exception as error:  # noqa: BLE001 - logged; a check that fails refuses
            # Without the error's text, because it may have parts of the headers.
            return self._complain(f"raised {type(error).__name__}")
        if access is None or access == "none":
            return "none"
        if access == "all":
            return "all"
        if access == "read-only":
            return "read-only"
        return self._complain(f"returned {kind_of(access)}, and none of 'all', 'read-only' and 'none'")

    def log_in(self, request: ResourceRequest) -> None:  # noqa: ARG002 - see TokenGate
        """Return None, because the application's own log-in counts."""
        return

    def give_cookie(self, request: ResourceRequest) -> ResourceAnswer:  # noqa: ARG002 - see TokenGate
        """Return a refusal, because the application's own log-in counts."""
        return refusal(self.advice)

    def _complain(self, what: str) -> Access:
        # Once, because a client without access can send requests that fail.
        if not self._has_failed:
            self._has_failed = True
            logger.error("access= of the inspector %s: the request is answered by 403; this is said once", what)
        return "none"


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether a page of another origin has made its visitor's browser ask.

    A program sends neither header. A browser sends ``Sec-Fetch-Site``, and ``Origin`` if another origin asks.
    """
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        return True
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def is_navigation(headers: Mapping[str, str]) -> bool:
    """Return whether the browser opens the answer as a page of its own, so that no other page can read it."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def refusal(text: str) -> ResourceAnswer:
    """Return a 403 with a sentence."""
    return answer(403, [("Content-Type", "text/plain; charset=utf-8")], f"{text}\n".encode())


def answer(status: int, headers: list[tuple[str, str]], body: bytes = b"") -> ResourceAnswer:
    """Return an answer with the headers of every answer."""
    return ResourceAnswer(status, [*headers, *HEADERS], body)


def _cookie(headers: Mapping[str, str], name: str) -> str:
    # Not by SimpleCookie, which drops all cookies if it cannot read one of another part of the site.
    for cookie in headers.get("cookie", "").split(";"):
        present, _, value = cookie.partition("=")
        if present.strip() == name:
            return value.strip()
    return ""
