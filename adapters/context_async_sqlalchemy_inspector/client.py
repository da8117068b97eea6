"""Asks an inspector for its state over HTTP, for the terminal."""

import json
from collections.abc import Iterable
from http.client import HTTPException, HTTPMessage
from http.cookiejar import CookieJar
from typing import IO, Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, Request, build_opener

Json = dict[str, Any]

_TIMEOUT = 5.0
_FORBIDDEN, _NOT_FOUND = 403, 404
_VERSION = 1


class InspectorError(Exception):
    """The inspector gives no state. The message says why, and what to do."""


class Client:
    """A client of one inspector.

    Args:
        url: the URL of the inspector's page, with ``?token=`` as the application prints it, or without.
        token: the token if the URL has none.
        headers: headers for each request, for an application that asks for them.

    Raises:
        InspectorError: the URL is not one of HTTP.

    """

    def __init__(self, url: str, token: str | None = None, headers: Iterable[tuple[str, str]] = ()) -> None:
        parts = _parts_of(url)
        if parts is None:
            raise InspectorError(
                f"{url.partition('?')[0]} is no URL of HTTP, for example http://127.0.0.1:8080/_db. Letters beyond "
                "ASCII are encoded in a URL: copy it from the browser"
            )
        # The token is in no message, and in the URL of the log-in only.
        self._token = dict(parse_qsl(parts.query)).get("token") or token
        self.page = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/", "", ""))
        self._headers = dict(headers)
        self._opener: OpenerDirector | None = None

    def state(self) -> Json:
        """Return the content of ``state.json``. It blocks for at most 5 seconds for each answer.

        Raises:
            InspectorError: there is no answer, or a refusal.

        """
        if self._opener is None:
            self._opener = self._logged_in()
        state = self._parsed(self._get(self._opener, f"{self.page.rstrip('/')}/state.json"))
        if state.get("version") != _VERSION:
            raise InspectorError(
                f"{self.page} has a state of version {state.get('version')}, and this program knows {_VERSION}: use "
                "the program of the same release as the application"
            )
        return state

    def _logged_in(self) -> OpenerDirector:
        opener = build_opener(HTTPCookieProcessor(CookieJar()), _WithinHost())
        if self._token is not None:
            self._get(opener, f"{self.page}?{urlencode({'token': self._token})}")
        return opener

    def _get(self, opener: OpenerDirector, url: str) -> bytes:
        try:
            # The constructor has checked the scheme.
            request = Request(url, headers=self._headers)  # noqa: S310 - see above
            with opener.open(request, timeout=_TIMEOUT) as response:
                return bytes(response.read())
        except HTTPError as error:
            raise InspectorError(self._refusal(error.code)) from error
        except UnicodeError as error:
            raise InspectorError(f"a header for {self.page} cannot be sent: use letters of ASCII") from error
        except (URLError, HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise InspectorError(
                f"{self.page} does not answer: {reason}. Is the application running, and is this its address?"
            ) from error

    def _parsed(self, body: bytes) -> Json:
        try:
            state: Any = json.loads(body)
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise InspectorError(f"{self.page} answers, but not as an inspector does: is this its path?")
        return cast("Json", state)

    def _refusal(self, status: int) -> str:
        if status == _FORBIDDEN and self._token is None:
            return f"{self.page} asks for a token: pass the URL with ?token= that the application printed at its start"
        if status == _FORBIDDEN:
            return (
                f"{self.page} refuses the token. Each start of the application makes a new one: pass the URL that it "
                "printed at its last start"
            )
        if status == _NOT_FOUND:
            return f"{self.page} does not exist: pass the path that the application gave to the inspector"
        return f"{self.page} answers with status {status}"


class _WithinHost(HTTPRedirectHandler):
    """Follows no redirection to another host or scheme, which would get the headers too."""

    def redirect_request(  # noqa: PLR0917 - the signature of the standard library
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Return the next request.

        Raises:
            InspectorError: it is for another host.

        """
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise InspectorError(
                f"{old.scheme}://{old.netloc} leads to {new.scheme}://{new.netloc}, which would get your headers: pass "
                "the URL there if it is the application"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _parts_of(url: str) -> SplitResult | None:
    """Return the parts of a URL of HTTP; None if it is another, or is not encoded."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    is_encoded = f"{parts.netloc}{parts.path}".isascii()
    return parts if parts.scheme in ("http", "https") and parts.netloc and is_encoded else None
