"""A relay that puts a request before the first request of each connection, so that a server handles pipelined ones."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

_MOST_BYTES = 65_536


class Pipelining:
    """Relays connections to a server; the first request on each is the second of a pipeline.

    Args:
        first: the request that is sent before.
        end: how the response to it ends. The client does not get that response.

    Attributes:
        port: where the relay listens, once it has been started.
        target: the port of the server.

    """

    def __init__(self, first: bytes, end: bytes) -> None:
        self.port = 0
        self.target = 0
        self._first = first
        self._end = end
        self._connections: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay a connection in a task."""
        task = asyncio.create_task(self._relay(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """Relay what the server has sent before its end, then cut what is left."""
        if self._connections:
            _, left = await asyncio.wait(self._connections, timeout=1)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await reader.read(_MOST_BYTES)
                # No server takes the upgrade of a connection whose response is not complete.
                if request and b"upgrade:" not in request.lower():
                    server_writer.write(self._first + request)
                    await server_reader.readuntil(self._end)
                else:
                    server_writer.write(request)
                await self._copy_both_ways(reader, writer, server_reader, server_writer)
        finally:
            server_writer.transport.abort()
            writer.transport.abort()

    @staticmethod
    async def _copy_both_ways(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        requests = asyncio.create_task(_copy(reader, server_writer))
        responses = asyncio.create_task(_copy(server_reader, writer))
        try:
            await asyncio.wait([requests, responses], return_when=asyncio.FIRST_COMPLETED)
            if responses.done() and responses.exception() is None:
                writer.close()
                await writer.wait_closed()
        finally:
            for task in (requests, responses):
                task.cancel()
            await asyncio.wait([requests, responses])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_MOST_BYTES):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def pipelining(first: bytes, end: bytes) -> AsyncGenerator[Pipelining]:
    """Start a relay on a free port of 127.0.0.1; see :class:`Pipelining`."""
    relay = Pipelining(first, end)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.port = int(server.sockets[0].getsockname()[1])
    try:
        yield relay
    finally:
        server.close()
        await relay.close()
