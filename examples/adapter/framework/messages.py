"""Requests, and the answers that handlers give: responses and streams."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from .websocket import WebSocket, accept_key


@dataclass(frozen=True)
class Response:
    """An ordinary response, which a handler returns."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class RaisedResponse(Exception):  # noqa: N818 - it is a response, and often no error
    """A response that a handler raises, from however deep: a redirect, a 404.

    Args:
        response: the response.

    """

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Stream:
    """A response whose headers are sent and whose body follows in pieces.

    Args:
        status: the status that was sent.
        writer: the connection to the client.

    """

    def __init__(self, status: int, writer: asyncio.StreamWriter) -> None:
        self.status = status
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, as a chunk."""
        if data:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self._writer.drain()

    async def end(self) -> None:
        """Send the last chunk, by which the client knows that the body is complete."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()


Answer = Response | Stream | WebSocket


class Request:
    """A request, and the ways to answer it.

    Args:
        method: the HTTP method.
        target: the path and the query.
        headers: the headers by their names in lower case.
        body: the body.
        connection: the connection to the client.

    Attributes:
        path: the path, without the query.
        query: the query string, without the question mark.
        template: the template of the route that the request matches, with the prefixes of applications above.
        state: for middlewares, which keep their data about the request here.
        before_headers: awaited with the request and its status before the headers of a stream or a websocket are sent.
        has_begun: whether a part of the response has been sent.
        accepted: the websocket, once the request has been accepted as one.

    """

    def __init__(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.template: str | None = None
        self.parameters: Mapping[str, str] = {}
        self.state: dict[str, object] = {}
        self.before_headers: list[BeforeHeaders] = []
        self.has_begun = False
        self.accepted: WebSocket | None = None
        self._reader, self._writer = connection

    async def stream(self, status: int = 200) -> Stream:
        """Send the headers of a streamed response.

        Raises:
            Exception: raised by a function of ``before_headers``. Nothing has been sent then.

        """
        await self._run_before_headers(status)
        self._send_headers(status, [("transfer-encoding", "chunked")])
        await self._writer.drain()
        return Stream(status, self._writer)

    async def websocket(self) -> WebSocket:
        """Accept the request as a websocket.

        Raises:
            Exception: raised by a function of ``before_headers``. Nothing has been sent then.
            RaisedResponse: the client has not asked for a websocket.

        """
        key = self.headers.get("sec-websocket-key")
        if key is None:
            raise RaisedResponse(Response(HTTPStatus.UPGRADE_REQUIRED))
        await self._run_before_headers(WebSocket.status)
        upgrade = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", accept_key(key))]
        self._send_headers(WebSocket.status, upgrade)
        self.accepted = WebSocket(self._reader, self._writer)
        return self.accepted

    async def respond(self, response: Response) -> None:
        """Send an ordinary response; the server calls it after all middlewares."""
        length = ("content-length", str(len(response.body)))
        self._send_headers(response.status, [*response.headers.items(), length])
        if self.method != "HEAD":
            self._writer.write(response.body)
        await self._writer.drain()

    async def _run_before_headers(self, status: int) -> None:
        for hook in self.before_headers:
            await hook(self, status)

    def _send_headers(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in headers), "", ""]
        self.has_begun = True
        self._writer.write("\r\n".join(lines).encode("latin-1"))


Handler = Callable[[Request], Awaitable[Answer]]
Middleware = Callable[[Request, Handler], Awaitable[Answer]]
BeforeHeaders = Callable[[Request, int], Awaitable[None]]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
