"""A server process of the model: one connection's messages, one after another."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.proof.simulation.network import Transport

from . import wire
from .sql import Result, Session, SqlError, Statement, Value

if TYPE_CHECKING:
    from .faults import Fate
    from .server import ModelServer

_SECRET = 42
_ENDED_BY_ADMINISTRATOR = SqlError("57P01", "terminating connection due to administrator command", is_fatal=True)
_TOO_MANY = SqlError("53300", "sorry, too many clients already", is_fatal=True)
_CONFLICT = SqlError("40001", "could not serialize access due to concurrent update")
_CANCELLED = SqlError("57014", "canceling statement due to user request")


@dataclass
class _Portal:
    statement: Statement | None
    arguments: list[str]
    rows: list[Value] | None = None
    tag: str = ""


class Backend(asyncio.Protocol):
    """One server process.

    Args:
        server: whose process it is.

    Attributes:
        session: its transaction.

    """

    def __init__(self, server: "ModelServer") -> None:
        self.server = server
        self.session = Session(server.database)
        self.pid = 0
        self._transport: Transport | None = None
        self._inbox = b""
        self._statements: dict[str, Statement | None] = {}
        self._portals: dict[str, _Portal] = {}
        self._is_started = False
        self._skips_until_sync = False
        self._is_hung_up = False
        self._is_mute = False
        # What a slow or silent statement is waiting for; no message is read meanwhile.
        self._pending: asyncio.TimerHandle | None = None
        self._is_busy = False
        self._can_be_cancelled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        self._work()

    def eof_received(self) -> bool:
        self._hang_up()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it was lost
        self._hang_up()

    def _hang_up(self) -> None:
        self._is_hung_up = True
        # A busy process does not look at its socket, so its statement takes effect all the same.
        if not self._is_busy or self._is_mute:
            self._end()

    def cancel_statement(self) -> None:
        """Cancel what is being executed, as a cancel request does; a COMMIT cannot be."""
        if self._is_busy and self._can_be_cancelled:
            self._stop_waiting()
            self._fail(_CANCELLED)
            self._work()

    def terminate(self) -> None:
        """End, and tell the client."""
        self._fail(_ENDED_BY_ADMINISTRATOR)

    def _work(self) -> None:
        while not self._is_busy and self._transport is not None:
            kind = b"" if not self._is_started else self._inbox[:1]
            head = len(kind)
            if len(self._inbox) < head + 4 or (self._is_started and not kind):
                break
            length = int.from_bytes(self._inbox[head : head + 4])
            if len(self._inbox) < head + length:
                break
            body = self._inbox[head + 4 : head + length]
            self._inbox = self._inbox[head + length :]
            if self._is_started:
                self._handle(kind, body)
            else:
                self._start(body)
        if self._is_hung_up and not self._is_busy:
            self._end()

    def _start(self, body: bytes) -> None:
        code = int.from_bytes(body[:4])
        if code == wire.SSL_REQUEST:
            self._send(b"N")
        elif code == wire.CANCEL_REQUEST:
            pid, secret = struct.unpack("!ii", body[4:])
            if secret == _SECRET:
                self.server.cancel(pid)
            self._end()
        else:
            self._is_started = True
            self._suffer(self.server.faults.of_startup(), self._welcome, refusal=_TOO_MANY)

    def _welcome(self) -> None:
        self.pid = self.server.register(self)
        self.server.note(self.pid, "begins")
        self._send(wire.welcome(self.pid, _SECRET) + wire.ready("idle"))

    def _handle(self, kind: bytes, body: bytes) -> None:
        if kind == b"X":
            self._end()
        elif kind == b"S":
            self._skips_until_sync = False
            self._send(wire.ready(self.session.state))
        elif not self._skips_until_sync:
            handle = {
                b"Q": self._query,
                b"P": self._parse,
                b"D": self._describe,
                b"B": self._bind,
                b"E": self._execute,
                b"C": self._close,
            }.get(kind)
            if handle is None:
                assert kind == b"H", f"the model does not know the message {kind!r}"
            else:
                try:
                    handle(wire.Reader(body))
                except SqlError as failure:
                    self._fail(failure, is_simple=kind == b"Q")

    def _query(self, body: wire.Reader) -> None:
        statement = self.session.analyse(body.string())
        if statement is None:
            self._send(wire.message(b"I") + wire.ready(self.session.state))
            return

        def run() -> None:
            answer = wire.complete(self._run(statement, []).tag)
            self._send(answer + wire.ready(self.session.state))

        self._suffer_statement(statement, run, is_simple=True)

    def _parse(self, body: wire.Reader) -> None:
        name = body.string()
        self._statements[name] = self.session.analyse(body.string())
        self._send(wire.message(b"1"))

    def _describe(self, body: wire.Reader) -> None:
        is_statement = body.byte() == b"S"
        name = body.string()
        statement = self._statements[name] if is_statement else self._portals[name].statement
        if is_statement:
            self._send(wire.parameter_description(statement.parameters if statement else ()))
        self._send(wire.row_description(statement.column if statement else None))

    def _bind(self, body: wire.Reader) -> None:
        portal, name = body.string(), body.string()
        for _ in range(body.int16()):
            body.int16()
        statement = self._statements[name]
        self.session.require_usable(statement)
        self._portals[portal] = _Portal(statement, list(body.values()))
        self._send(wire.message(b"2"))

    def _execute(self, body: wire.Reader) -> None:
        portal, limit = self._portals[body.string()], body.int32()
        statement = portal.statement
        if statement is None:
            self._send(wire.message(b"I"))
            return

        def run() -> None:
            if portal.rows is None:
                result = self._run(statement, portal.arguments)
                portal.rows, portal.tag = result.rows, result.tag
            count = limit or len(portal.rows)
            rows, portal.rows = portal.rows[:count], portal.rows[count:]
            kind = statement.column[1] if statement.column else 0
            is_suspended = limit > 0 and len(rows) == limit
            end = wire.message(b"s") if is_suspended else wire.complete(portal.tag)
            self._send(b"".join(wire.data_row(row, kind) for row in rows) + end)

        self._suffer_statement(statement, run)

    def _close(self, body: wire.Reader) -> None:
        of = self._statements if body.byte() == b"S" else self._portals
        of.pop(body.string(), None)
        self._send(wire.message(b"3"))

    def _run(self, statement: Statement, arguments: list[str]) -> Result:
        result = self.session.execute(statement, arguments)
        if self.session.state == "idle":
            self._portals = {name: portal for name, portal in self._portals.items() if not name}
        elif (seconds := self.server.faults.of_pause()) is not None:
            self.server.loop.call_later(seconds, self._terminate_in, self.session.begun)
        return result

    def _terminate_in(self, transaction: int) -> None:
        if self.session.state != "idle" and self.session.begun == transaction:
            self.server.note(self.pid, "is killed")
            self.terminate()

    def _suffer_statement(self, statement: Statement, run: Callable[[], None], *, is_simple: bool = False) -> None:
        fate = self.server.faults.of_statement(statement, has_written=bool(self.session.writes))
        if self.session.state == "failed" and fate == "refused":
            fate = "plain"
        self.server.note(self.pid, statement.sql if fate == "plain" else f"{statement.sql} [{fate}]")
        self._can_be_cancelled = statement.kind == "statement"
        self._suffer(fate, run, refusal=_CONFLICT, seconds=statement.seconds, is_simple=is_simple)

    def _suffer(
        self,
        fate: "Fate",
        run: Callable[[], None],
        *,
        refusal: SqlError,
        seconds: float = 0.0,
        is_simple: bool = False,
    ) -> None:
        """Do what is asked for, in the way that the fate says."""
        if fate == "slow":
            seconds += self.server.faults.delay()
        if fate in ("plain", "slow"):
            if seconds:
                self._later(seconds, run, is_simple=is_simple)
            else:
                self._attempt(run, is_simple=is_simple)
        elif fate == "killed":
            self.terminate()
        elif fate == "refused":
            if is_simple:
                # A COMMIT that is refused ends its transaction.
                self.session.rollback()
            self._fail(refusal, is_simple=is_simple)
        else:
            self._lose_answer(fate, run, is_simple=is_simple)

    def _lose_answer(self, fate: "Fate", run: Callable[[], None], *, is_simple: bool) -> None:
        if fate != "cut before":
            transport, self._transport = self._transport, None
            self._attempt(run, is_simple=is_simple)
            self._transport = transport
        if fate == "silent":
            self._is_busy = self._is_mute = True
            self._can_be_cancelled = False
        else:
            self._cut()

    def _attempt(self, run: Callable[[], None], *, is_simple: bool) -> None:
        try:
            run()
        except SqlError as failure:
            self._fail(failure, is_simple=is_simple)

    def _later(self, seconds: float, run: Callable[[], None], *, is_simple: bool) -> None:
        def finish() -> None:
            self._stop_waiting()
            self._attempt(run, is_simple=is_simple)
            self._work()

        self._is_busy = True
        self._pending = self.server.loop.call_later(seconds, finish)

    def _stop_waiting(self) -> None:
        self._is_busy = False
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _fail(self, failure: SqlError, *, is_simple: bool = False) -> None:
        self.server.note(self.pid, f"error {failure.sqlstate}: {failure}")
        self._send(wire.error(failure))
        if failure.is_fatal:
            self._end()
            return
        self.session.fail()
        if is_simple:
            self._send(wire.ready(self.session.state))
        else:
            self._skips_until_sync = True

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _end(self) -> None:
        if self.server.backends.get(self.pid) is self:
            self.server.note(self.pid, "ends")
        self._stop_waiting()
        self.session.rollback()
        self.server.backends.pop(self.pid, None)
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
