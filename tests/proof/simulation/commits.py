"""What the network shows of each COMMIT: when its first byte leaves, and whether its answer is waited for."""

from collections.abc import Callable

from tests.proof.simulation.ledger import Ledger
from tests.proof.simulation.loop import TURN, SimulatedLoop
from tests.proof.simulation.network import Transport
from tests.proof.simulation.postgres import ModelServer
from tests.proof.simulation.postgres.backend import Backend

_COMMIT = b"COMMIT"
_READY = b"Z\x00\x00\x00\x05"
_SECOND = 1_000_000_000
_TIE = TURN
"""Nanoseconds: a COMMIT that is handed to a task leaves one turn later, and a cancellation of that turn is a tie."""


class CommitWatch:
    """Looks at the COMMITs on the way to a server.

    Args:
        loop: the simulated loop.
        server: the server.
        ledger: the units.
        patience: seconds for which a COMMIT must be waited for.
        violate: called with a rule and a detail when one is broken.

    """

    def __init__(
        self,
        loop: SimulatedLoop,
        server: ModelServer,
        ledger: Ledger,
        patience: float,
        violate: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._patience = int(patience * _SECOND)
        self._violate = violate
        self._begun: dict[Transport, tuple[int, str]] = {}
        self._answers: dict[Transport, bytes] = {}
        listener = server.port.listener
        listener.written_by_client = self._written
        listener.delivered_to_client = self._delivered
        listener.closed_by_client = self._closed

    def _written(self, client: Transport, data: bytes) -> None:
        if not (data.startswith(b"Q") and _COMMIT in data):
            return
        now = self._loop.nanoseconds
        backend = client.peer.protocol
        assert isinstance(backend, Backend)
        units = self._ledger.units_of(backend.session.writes)
        self._begun[client] = now, ", ".join(unit.name for unit in units)
        self._answers[client] = b""
        for unit in units:
            if unit.cancelled_at is not None and unit.cancelled_at < now - _TIE:
                self._violate("a COMMIT is begun after the cancellation of its caller", unit.name)

    def _delivered(self, client: Transport, data: bytes) -> None:
        if client in self._begun:
            self._answers[client] += data
            if _READY in self._answers[client]:
                del self._begun[client], self._answers[client]

    def _closed(self, client: Transport) -> None:
        begun = self._begun.pop(client, None)
        if begun is None:
            return
        at, units = begun
        if not client.peer.is_closing() and self._loop.nanoseconds - at < self._patience:
            self._violate("a COMMIT that has begun is not waited for", units)
