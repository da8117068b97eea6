"""The network of a simulated loop: connections between two protocols of one process, with delays and faults."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from tests.proof.simulation.choices import Choices

if TYPE_CHECKING:
    from tests.proof.simulation.loop import SimulatedLoop

Reception = Literal["accepts", "refuses", "is silent"]

_HOP = 60_000
"""Nanoseconds that data takes at least from one end to the other: three turns of the loop."""

_DELAYS = (0, 20_000, 60_000, 200_000, 700_000, 2_500_000)


class _Farewell(Enum):
    """How the other end has left."""

    CLOSED = 1
    ABORTED = 2


class _Socket:
    """What protocols ask a transport's socket for."""

    family = socket.AF_INET

    def setsockopt(self, *_options: Any) -> None:
        """Options change nothing here."""


@dataclass(eq=False)
class Listener:
    """A port that is listened to.

    Attributes:
        receive: decides what becomes of a connection that is asked for.
        written_by_client: called with each piece of data that a client has just written, before it is on its way.
        written_by_server: the same for the server's end.
        closed_by_client: called when a client's end is closed.

    """

    protocol_factory: Callable[[], Any]
    receive: Callable[[], Reception] = lambda: "accepts"
    written_by_client: Callable[["Transport", bytes], None] | None = None
    written_by_server: Callable[["Transport", bytes], None] | None = None
    delivered_to_client: Callable[["Transport", bytes], None] | None = None
    closed_by_client: Callable[["Transport"], None] | None = None


class Network:
    """All ports and connections of a simulated loop.

    Args:
        loop: where things arrive.
        choices: decides how long they take.

    Attributes:
        journal: what has happened; equal for equal schedules.

    """

    def __init__(self, loop: "SimulatedLoop", choices: Choices) -> None:
        self.loop = loop
        self.choices = choices
        self.listeners: dict[tuple[str, int], Listener] = {}
        self.journal: list[tuple[int, int, str, str]] = []
        self._count = 0

    def delay(self) -> int:
        """Choose how many nanoseconds a piece of data takes."""
        return _HOP + _DELAYS[self.choices.deviate(len(_DELAYS))]

    def listen(self, protocol_factory: Callable[[], Any], host: str, port: int) -> "Server":
        """Listen to a port."""
        address = host, port
        if address in self.listeners:
            raise OSError(f"{host}:{port} is in use")
        listener = self.listeners[address] = Listener(protocol_factory)
        return Server(self, address, listener)

    async def connect(self, protocol_factory: Callable[[], Any], host: str, port: int) -> "tuple[Transport, Any]":
        """Connect to a port, as ``loop.create_connection`` does.

        Raises:
            ConnectionRefusedError: nobody listens there, or the listener refuses.

        """
        loop = self.loop
        answered: asyncio.Future[Transport | None] = loop.create_future()

        def arrive() -> None:
            listener = self.listeners.get((host, port))
            reception: Reception = "refuses" if listener is None else listener.receive()
            if reception == "is silent":
                return
            # The server has the connection before the client hears of it.
            client = None if listener is None or reception == "refuses" else self._accept(listener)
            loop.arrive(self.delay(), lambda: answer(client))

        def answer(client: Transport | None) -> None:
            if not answered.done():
                answered.set_result(client)
            elif client is not None:
                client.close()

        loop.arrive(self.delay(), arrive)
        try:
            client = await answered
        except asyncio.CancelledError:
            if answered.done() and not answered.cancelled() and (late := answered.result()) is not None:
                late.close()
            raise
        if client is None:
            raise ConnectionRefusedError(f"{host}:{port} refuses")
        client.protocol = protocol = protocol_factory()
        made: asyncio.Future[None] = loop.create_future()
        loop.call_soon(protocol.connection_made, client)
        # The server may have spoken, or hung up, already.
        loop.call_soon(client.resume_reading)
        loop.call_soon(_wake, made)
        try:
            await made
        except BaseException:
            client.close()
            raise
        return client, protocol

    def _accept(self, listener: Listener) -> "Transport":
        number = self._count = self._count + 1
        client = Transport(self, number, None, listener, is_client=True)
        server = Transport(self, number, listener.protocol_factory(), listener, is_client=False)
        client.peer, server.peer = server, client
        self.loop.call_soon(server.protocol.connection_made, server)
        return client


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Server(asyncio.AbstractServer):
    """A port that is listened to, as ``loop.create_server`` returns it."""

    def __init__(self, network: Network, address: tuple[str, int], listener: Listener) -> None:
        self._network = network
        self._address = address
        self.listener = listener
        self.sockets: tuple[Any, ...] = ()

    def close(self) -> None:
        """Accept no more connections."""
        if self._network.listeners.get(self._address) is self.listener:
            del self._network.listeners[self._address]

    def is_serving(self) -> bool:
        """Tell whether connections are accepted."""
        return self._network.listeners.get(self._address) is self.listener

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the simulated loop."""
        return self._network.loop

    async def start_serving(self) -> None:
        """Return at once: it serves from the beginning."""

    async def serve_forever(self) -> None:
        """Raise: no protocol here needs it."""
        raise NotImplementedError

    async def wait_closed(self) -> None:
        """Return at once: there is nothing to wait for."""


class Transport(asyncio.Transport):
    """One end of a connection."""

    peer: "Transport"
    protocol: Any

    def __init__(self, network: Network, number: int, protocol: Any, listener: Listener, *, is_client: bool) -> None:
        super().__init__({"socket": _Socket(), "peername": ("simulated", number), "sockname": ("simulated", 0)})
        self.network = network
        self.number = number
        self.protocol = protocol
        self.listener = listener
        self.is_client = is_client
        self.is_lost = False
        self._is_closing = False
        self._is_paused = False
        self._inbox: deque[bytes | _Farewell] = deque()
        self._last_arrival = 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._is_paused

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self.network.loop.call_soon(self._drain)

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever held back here."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        piece = bytes(data)
        tap = self.listener.written_by_client if self.is_client else self.listener.written_by_server
        if tap is not None:
            tap(self, piece)
        # TCP keeps the order of bytes, not the pieces in which they were written.
        cut = self.network.choices.deviate(4) * len(piece) // 4
        for part in (piece[:cut], piece[cut:]) if cut else (piece,):
            self._send(part)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if not self._is_closing:
            self._end(_Farewell.CLOSED)

    def abort(self) -> None:
        if not self._is_closing:
            self._end(_Farewell.ABORTED)

    def _end(self, farewell: _Farewell) -> None:
        self._is_closing = True
        if self.is_client and self.listener.closed_by_client is not None:
            self.listener.closed_by_client(self)
        self._send(farewell)
        self.network.loop.call_soon(self._lose, None)

    def _send(self, piece: bytes | _Farewell) -> None:
        network = self.network
        now = network.loop.nanoseconds
        delay = max(network.delay(), self._last_arrival - now + 1)
        self._last_arrival = network.loop.arrive(delay, lambda: self.peer.receive(piece))

    def receive(self, piece: bytes | _Farewell) -> None:
        """Take what has arrived: data, or the other end's farewell."""
        self._inbox.append(piece)
        self._drain()

    def _drain(self) -> None:
        while self._inbox and self.protocol is not None and not self._is_paused and not self._is_closing:
            piece = self._inbox.popleft()
            if isinstance(piece, bytes):
                self._note("in")
                if self.is_client and self.listener.delivered_to_client is not None:
                    self.listener.delivered_to_client(self, piece)
                self.protocol.data_received(piece)
            elif piece is _Farewell.CLOSED:
                if not self.protocol.eof_received():
                    self.close()
            else:
                self._is_closing = True
                self._send(_Farewell.CLOSED)
                self._lose(ConnectionResetError("the other end has aborted the connection"))

    def _lose(self, error: Exception | None) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._note("lost")
            if self.protocol is not None:
                self.protocol.connection_lost(error)

    def _note(self, what: str) -> None:
        # Not its size: asyncpg counts its statements up through all schedules, and puts the number in their names.
        network = self.network
        network.journal.append((network.loop.nanoseconds, self.number, "client" if self.is_client else "server", what))
