"""The websockets of the example framework: whole text messages, without extensions (RFC 6455)."""

import asyncio
import base64
import hashlib

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE = 0x1, 0x8
_NORMAL = 1000
_LAST_FRAME = 0x80
_OPCODE, _LENGTH = 0x0F, 0x7F
_LENGTH_IN_2_BYTES, _LENGTH_IN_8_BYTES = 126, 127


def accept_key(key: str) -> str:
    """Return the value of ``Sec-WebSocket-Accept`` for a client's ``Sec-WebSocket-Key``."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


class WebSocket:
    """An accepted websocket, on the server's side.

    Args:
        reader: the connection to the client.
        writer: the same connection.

    """

    status = 101

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._is_ended = False

    async def receive(self) -> str | None:
        """Return the next text message, or None when the client has closed the websocket."""
        while True:
            try:
                opcode, payload = await self._read_frame()
            except asyncio.IncompleteReadError:
                return None
            if opcode == _TEXT:
                return payload.decode()
            if opcode == _CLOSE:
                return None

    async def send(self, message: str) -> None:
        """Send a text message."""
        await self._write_frame(_TEXT, message.encode())

    async def end(self, code: int = _NORMAL) -> None:
        """Tell the client that the websocket is closed, if it was not told; the server calls it after the handler."""
        if not self._is_ended:
            self._is_ended = True
            await self._write_frame(_CLOSE, code.to_bytes(2))

    async def _read_frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        length = second & _LENGTH
        if length == _LENGTH_IN_2_BYTES:
            length = int.from_bytes(await self._reader.readexactly(2))
        elif length == _LENGTH_IN_8_BYTES:
            length = int.from_bytes(await self._reader.readexactly(8))
        mask = await self._reader.readexactly(4)
        masked = await self._reader.readexactly(length)
        return first & _OPCODE, bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))

    async def _write_frame(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        if length < _LENGTH_IN_2_BYTES:
            head = bytes([_LAST_FRAME | opcode, length])
        else:
            head = bytes([_LAST_FRAME | opcode, _LENGTH_IN_8_BYTES]) + length.to_bytes(8)
        self._writer.write(head + payload)
        await self._writer.drain()
