"""What a hostile client sends, to make labels, lines in a log or memory of a server's."""

import asyncio
import contextlib
from collections.abc import Iterable

MARK = "sent-by-the-client"
"""A part of all that the client chooses. It may be in no label and in no line."""

_PARAMETERS = [
    MARK,
    "007",
    "1e3",
    "0.70",
    "AB12CD34-0000-4000-8000-ABCDEF012345",
    f"{MARK}%0d%0aSet-Cookie:%20a=b",
    f"{MARK}%1b%5b31m",
    f"{MARK}%e2%80%a8",
    f"{MARK}%c2%85",
    f"{MARK}%00",
    f"{MARK}%ff",
    f"{MARK}?a=%0a",
    f"{MARK}?a={'b' * 4000}",
    f"{MARK}{'a' * 4000}",
    f"{MARK}{'a' * 65_536}",
    f"{MARK}/more/{MARK}",
    f"..%2f{MARK}",
]
_PATHS = [f"//{MARK}", f"/{MARK}/..%2f", f"http://{MARK}/items/1", "*"]
_METHODS = ["GET", "get", "BREW", "HEAD", "OPTIONS", "X" * 200, "Y" * 60_000, *(f"{MARK}{each}" for each in range(40))]
_HEADERS = [
    [f"X-Forwarded-For: {MARK}\x1b[31m"],
    [f"traceparent: {MARK}"],
    [f"Cookie: a={MARK}"],
    ["Expect: 100-continue"],
    [f"X-{MARK}: {'c' * 60_000}"],
    [f"X-{MARK}-{each}: {each}" for each in range(1000)],
]


def _request(method: str, path: str, headers: Iterable[str] = ()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {MARK}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def hostile_requests(items: str) -> list[bytes]:
    """Return the requests.

    Args:
        items: the path of a route whose last part is a parameter, without that part and with the slash before it.

    """
    return [
        *(_request("GET", f"{items}{parameter}") for parameter in _PARAMETERS),
        *(_request("GET", path) for path in _PATHS),
        *(_request(method, f"{items}1") for method in _METHODS),
        *(_request("GET", f"{items}1", headers) for headers in _HEADERS),
        # Pipelined.
        _request("GET", f"{items}1") + _request("BREW", f"{items}{MARK}%0a") + _request("GET", f"/{MARK}") + b"\x00",
        f"GET {items}{MARK}\r\n\r\n".encode(),
        b"\x16\x03\x01" + MARK.encode(),
    ]


async def send_all(port: int, requests: Iterable[bytes]) -> None:
    """Send each request on a connection of its own and read what comes, a few at a time; then hang up once at once."""
    few = asyncio.Semaphore(8)

    async def send(data: bytes) -> None:
        async with few:
            await _send(port, data, stays=True)

    requests = list(requests)
    await asyncio.gather(*map(send, requests))
    await _send(port, requests[0], stays=False)


async def _send(port: int, data: bytes, *, stays: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # A server may close the connection at once, or wait for more.
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(data)
            await writer.drain()
            if stays:
                await asyncio.wait_for(reader.read(1), 1)
    finally:
        writer.transport.abort()
