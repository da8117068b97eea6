"""Messages of PostgreSQL's frontend/backend protocol, version 3."""

import struct
from collections.abc import Iterator, Sequence

from .sql import INT4, INT8, SqlError, State, Value

SSL_REQUEST = 80877103
CANCEL_REQUEST = 80877102

_PARAMETERS = {
    "server_version": "18.0",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "integer_datetimes": "on",
    "TimeZone": "UTC",
}
_STATES: dict[State, bytes] = {"idle": b"I", "open": b"T", "failed": b"E"}


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Frame a message."""
    return kind + struct.pack("!i", len(body) + 4) + body


def _string(text: str) -> bytes:
    return text.encode() + b"\0"


def ready(state: State) -> bytes:
    """ReadyForQuery."""
    return message(b"Z", _STATES[state])


def welcome(pid: int, secret: int) -> bytes:
    """AuthenticationOk, the parameters, and the key for cancel requests."""
    parameters = (message(b"S", _string(name) + _string(value)) for name, value in _PARAMETERS.items())
    return message(b"R", struct.pack("!i", 0)) + b"".join(parameters) + message(b"K", struct.pack("!ii", pid, secret))


def error(failure: SqlError) -> bytes:
    """ErrorResponse."""
    severity = "FATAL" if failure.is_fatal else "ERROR"
    fields = (("S", severity), ("V", severity), ("C", failure.sqlstate), ("M", str(failure)))
    return message(b"E", b"".join(code.encode() + _string(value) for code, value in fields) + b"\0")


def complete(tag: str) -> bytes:
    """CommandComplete."""
    return message(b"C", _string(tag))


def parameter_description(types: Sequence[int]) -> bytes:
    """ParameterDescription."""
    return message(b"t", struct.pack(f"!h{len(types)}i", len(types), *types))


def row_description(column: tuple[str, int] | None) -> bytes:
    """RowDescription of one column, or NoData."""
    if column is None:
        return message(b"n")
    name, kind = column
    return message(b"T", struct.pack("!h", 1) + _string(name) + struct.pack("!ihihih", 0, 0, kind, -1, -1, 1))


def data_row(value: Value, kind: int) -> bytes:
    """DataRow of one column, in binary."""
    encoded = struct.pack({INT4: "!i", INT8: "!q"}[kind], value) if isinstance(value, int) else value.encode()
    return message(b"D", struct.pack("!hi", 1, len(encoded)) + encoded)


class Reader:
    """Reads the fields of a message's body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def string(self) -> str:
        """Read a string that ends with a zero byte."""
        end = self._body.index(0, self._position)
        text = self._body[self._position : end].decode()
        self._position = end + 1
        return text

    def byte(self) -> bytes:
        """Read a byte."""
        self._position += 1
        return self._body[self._position - 1 : self._position]

    def int16(self) -> int:
        """Read two bytes."""
        self._position += 2
        return int.from_bytes(self._body[self._position - 2 : self._position], signed=True)

    def int32(self) -> int:
        """Read four bytes."""
        self._position += 4
        return int.from_bytes(self._body[self._position - 4 : self._position], signed=True)

    def values(self) -> Iterator[str]:
        """Read a counted list of values, all of them texts."""
        for _ in range(self.int16()):
            length = self.int32()
            self._position += length
            yield self._body[self._position - length : self._position].decode()
