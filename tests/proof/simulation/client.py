"""HTTP clients that know nothing of the server's language: they read bytes, and some of them hang up."""

import asyncio
from dataclasses import dataclass

HOST, PORT = "application", 8080
_LONGEST = 200.0


@dataclass(frozen=True)
class Answer:
    """What a client has got.

    Attributes:
        status: None if no status line came.
        is_complete: whether the body is whole.
        has_hung_up: whether the client has left before the end.

    """

    status: int | None = None
    is_complete: bool = False
    has_hung_up: bool = False
    is_late: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the client may believe that all has succeeded."""
        return self.status is not None and self.status < 400 and self.is_complete


async def ask(path: str, patience: float | None = None) -> Answer:
    """Send a request and read the answer.

    Args:
        path: of the URL.
        patience: seconds after which the client hangs up; None for one that stays.

    """
    received = b""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_LONGEST if patience is None else patience):
            reader, writer = await asyncio.open_connection(HOST, PORT)
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            while piece := await reader.read(65536):
                received += piece
    except TimeoutError:
        return Answer(*_read(received), has_hung_up=True, is_late=patience is None)
    except OSError:
        pass
    finally:
        if writer is not None:
            writer.transport.abort()
    return Answer(*_read(received))


def _read(received: bytes) -> tuple[int | None, bool]:
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return None, False
    lines = head.decode().lower().split("\r\n")
    status = int(lines[0].split(" ")[1])
    if "transfer-encoding: chunked" in lines:
        return status, body.endswith(b"0\r\n\r\n")
    lengths = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
    return status, len(body) == (lengths[0] if lengths else 0)
