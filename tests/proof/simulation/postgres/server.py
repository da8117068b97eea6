"""The processes of a model server, and its port."""

from tests.proof.simulation.loop import SimulatedLoop
from tests.proof.simulation.network import Server

from .backend import Backend
from .faults import Faults
from .sql import Database


class ModelServer:
    """A model PostgreSQL that listens to an address.

    Args:
        loop: the simulated loop.
        faults: what goes wrong.
        host: of the address; the port is 5432.

    Attributes:
        database: its rows.
        backends: its processes by their id.
        story: what the processes did, and when.

    """

    def __init__(self, loop: SimulatedLoop, faults: Faults, host: str = "database") -> None:
        self.loop = loop
        self.host = host
        self.faults = faults
        self.database = Database()
        self.backends: dict[int, Backend] = {}
        self.story: list[tuple[float, str]] = []
        self._last_pid = 100
        self.port: Server = loop.network.listen(lambda: Backend(self), host, 5432)
        self.port.listener.receive = faults.of_connect

    def register(self, backend: Backend) -> int:
        """Give a new process its id."""
        pid = self._last_pid = self._last_pid + 1
        self.backends[pid] = backend
        return pid

    def cancel(self, pid: int) -> None:
        """Take a cancel request."""
        if backend := self.backends.get(pid):
            backend.cancel_statement()

    def terminate(self, pid: int) -> None:
        """End a process, as ``pg_terminate_backend`` does."""
        if backend := self.backends.get(pid):
            backend.terminate()

    def note(self, pid: int, event: str) -> None:
        """Note what a process did."""
        self.story.append((self.loop.time(), f"{self.host} {pid}: {event}"))

    @property
    def in_transaction(self) -> list[int]:
        """The processes that have a transaction open."""
        return [pid for pid, backend in self.backends.items() if backend.session.state != "idle"]
