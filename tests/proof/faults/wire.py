"""A proxy between the driver and PostgreSQL that knows the protocol, and can spoil one operation.

It has no tasks of its own that wait: what a run leaves behind can be told from it.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

_LENGTH = struct.Struct("!i")
_QUERY, _PARSE, _SYNC, _FLUSH, _TERMINATE, _READY = b"Q", b"P", b"S", b"H", b"X", b"Z"
_ENDS_OF_OPERATIONS = {_QUERY, _SYNC, _FLUSH}
# What ends the answer to Parse, Describe, Flush: a description, that there is none, or an error.
_ENDS_OF_PREPARING = {b"T", b"n", b"E"}
_ENDS_AND_BEGINNINGS = {"begin", "commit", "rollback"}
_CANCEL_REQUEST = 80877102


class _Pipe(asyncio.Protocol):
    """One side of a link.

    Args:
        received: is given what comes.
        lost: is called when the other end is gone.

    """

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._is_closed:
            transport.close()
            return
        for data in self._unsent:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._lost()

    def send(self, data: bytes) -> None:
        """Send now, or when the connection is there."""
        if self._transport is None:
            self._unsent.append(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection, once what was sent is out."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.close()


class Link:
    """One connection of the driver."""

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire
        self._from_client = self._from_server = b""
        self._has_started = self._is_ready = self._is_preparing = False
        self._batch = b""
        self._text = ""
        self._on_answer: Callable[[], None] | None = None
        self._swallows = False
        self.client = _Pipe(self._client_sent, self.cut)
        self.server = _Pipe(self._server_sent, self.cut)

    def cut(self) -> None:
        """Close both connections."""
        self.client.close()
        self.server.close()
        self._wire.links.discard(self)

    def pass_on(self, batch: bytes) -> None:
        """Let the server have an operation."""
        self.server.send(batch)

    def swallow_answer(self, then: Callable[[], None]) -> None:
        """Keep the server's next answer from the driver."""
        self._on_answer = then
        self._swallows = True

    def await_answer(self, then: Callable[[], None]) -> None:
        """Have something done after the server's next answer."""
        self._on_answer = then
        self._swallows = False

    def _client_sent(self, data: bytes) -> None:
        self._from_client += data
        if not self._has_started:
            self._start()
        while self._has_started and (message := self._next(self._from_client)):
            self._from_client = self._from_client[len(message) :]
            self._collect(message)

    def _start(self) -> None:
        if len(self._from_client) < 2 * _LENGTH.size:
            return
        length, code = struct.unpack_from("!ii", self._from_client)
        if len(self._from_client) < length:
            return
        self.server.send(self._from_client[:length])
        self._from_client = self._from_client[length:]
        # Nothing follows a request to cancel.
        self._has_started = code != _CANCEL_REQUEST

    @staticmethod
    def _next(data: bytes) -> bytes:
        if len(data) <= _LENGTH.size:
            return b""
        (length,) = _LENGTH.unpack_from(data, 1)
        return data[: length + 1] if len(data) > length else b""

    def _collect(self, message: bytes) -> None:
        kind = message[:1]
        if kind == _TERMINATE or not self._is_ready:
            self.server.send(message)
            return
        self._batch += message
        if kind == _QUERY:
            self._text = message[5:-1].decode()
        elif kind == _PARSE:
            self._text = message[5:].split(b"\0")[1].decode()
        if kind in _ENDS_OF_OPERATIONS:
            batch, text, self._batch, self._text = self._batch, self._text, b"", ""
            self._is_preparing = kind == _FLUSH
            self._wire.operate(self, batch, text)

    def _server_sent(self, data: bytes) -> None:
        self._from_server += data
        while message := self._next(self._from_server):
            self._from_server = self._from_server[len(message) :]
            kind = message[:1]
            self._is_ready = self._is_ready or kind == _READY
            is_end = kind in _ENDS_OF_PREPARING if self._is_preparing else kind == _READY
            if self._on_answer is None or not self._swallows:
                self.client.send(message)
            if self._on_answer is not None and is_end:
                then, self._on_answer = self._on_answer, None
                then()


Spoil = Callable[[Link, bytes], None]
"""Is given an operation in place of the server."""


class Wire:
    """The proxy.

    Args:
        host: the server's address.
        port: the server's port.

    Attributes:
        operations: how many of each sort there were since ``watch``.

    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[object]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._is_silent = False
        self._sort = ""
        self._at = 0
        self._spoil: Spoil | None = None
        self._on_fault: Callable[[], None] = _nothing
        self.operations: Counter[str] = Counter()
        self.links: set[Link] = set()
        # Keeps the port, without listening, while connects are refused.
        self._place = socket.socket()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.refuse()
        self._place.close()
        for link in list(self.links):
            link.cut()

    def watch(
        self, sort: str = "", at: int = 0, spoil: Spoil | None = None, on_fault: Callable[[], None] | None = None
    ) -> None:
        """Begin to count operations, and spoil one.

        Args:
            sort: ``begin``, ``commit``, ``rollback`` or ``statement``.
            at: its number among those of its sort, from 1.
            spoil: has it in place of the server.
            on_fault: called after that, or when a connect has failed.

        """
        self.operations.clear()
        self._sort, self._at, self._spoil, self._on_fault = sort, at, spoil, on_fault or _nothing

    def operate(self, link: Link, batch: bytes, text: str) -> None:
        """Pass an operation on, or spoil it."""
        sort = text.rstrip(";").lower()
        if sort not in _ENDS_AND_BEGINNINGS:
            sort = "statement"
        self.operations[sort] += 1
        if self._spoil is not None and sort == self._sort and self.operations[sort] == self._at:
            spoil, self._spoil = self._spoil, None
            spoil(link, batch)
            self._on_fault()
        else:
            link.pass_on(batch)

    def silence(self) -> None:
        """Let no connect come to its end."""
        self._is_silent = True

    async def refuse(self) -> None:
        """Refuse connects."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def heal(self) -> None:
        """Let connects succeed again."""
        self._is_silent = False
        if self._server is None and self._listening is None:
            # In a task of its own, as a scenario that awaits this may be cancelled.
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        if self._listening is not None:
            await asyncio.shield(self._listening)
            self._listening = None

    async def _listen(self) -> None:
        if not self.port:
            self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._place.bind(("127.0.0.1", 0))
            self.port = int(self._place.getsockname()[1])
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, "127.0.0.1", self.port, reuse_port=True
        )

    def _accept(self) -> asyncio.Protocol:
        link = Link(self)
        self.links.add(link)
        if self._is_silent:
            self._on_fault()
        else:
            connecting = asyncio.get_running_loop().create_task(self._reach(link))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)
        return link.client

    async def _reach(self, link: Link) -> None:
        await asyncio.get_running_loop().create_connection(lambda: link.server, *self._upstream)


def query(text: str) -> bytes:
    """Make the message of a simple query."""
    body = text.encode() + b"\0"
    return _QUERY + _LENGTH.pack(len(body) + _LENGTH.size) + body


def failing(batch: bytes) -> bytes:
    """Make an operation that fails in place of another one, in the same part of the protocol."""
    if batch[:1] != _PARSE:
        return query("DO $$ BEGIN RAISE EXCEPTION 'planted'; END $$")
    (length,) = _LENGTH.unpack_from(batch, 1)
    name = batch[5:].split(b"\0")[0]
    body = name + b"\0SELECT planted\0\0\0"
    return _PARSE + _LENGTH.pack(len(body) + _LENGTH.size) + body + batch[length + 1 :]


def _nothing() -> None:
    pass
