"""The clients: requests to many paths, one after another, and many requests at the same time."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from tools.benchmarks.client import ServerUnderTest

_POLLED = 0.05
"""Seconds."""


async def _answered(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"unexpected answer: {head!r}")


async def visit(server: ServerUnderTest, paths: Iterable[str]) -> None:
    """Request paths over one keep-alive connection, each after the answer to the one before. No answer has a body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["service"])
    for path in paths:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await _answered(reader)
    writer.close()
    await writer.wait_closed()


async def cpu_of(server: ServerUnderTest, paths: list[str]) -> float:
    """Return the server's microseconds of the processor for each request of some paths."""
    before = int(await server.ask("/cpu-time"))
    await visit(server, paths)
    return (int(await server.ask("/cpu-time")) - before) / 1000 / len(paths)


@asynccontextmanager
async def in_flight(server: ServerUnderTest, path: str, count: int) -> AsyncGenerator[None]:
    """Have requests in flight during the block, whose clients leave at its end."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", server.ports["service"])
            writers.append(writer)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while int(await server.ask("/held")) < count:  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(_POLLED)
        yield
    finally:
        for writer in writers:
            writer.transport.abort()
