"""An event loop with a virtual clock, and with a network of its own in place of the selector.

It is the standard library's ``BaseEventLoop`` with its own ``_run_once``: the order of callbacks, of input and output
and of timers is CPython's. Only the selector is replaced. A schedule differs from another one by the instants at which
the network delivers, so every schedule is one that could happen on the standard loop.
"""

import asyncio
import itertools
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from tests.proof.simulation.choices import Choices
from tests.proof.simulation.network import Network, Server, Transport

Delivery = tuple[int, int, int, Callable[[], None]]

TURN = 20_000
"""Nanoseconds that one turn of the loop takes: what arrives meanwhile is seen in the next turn."""

_SECOND = 1_000_000_000
_MOST_TURNS = 100_000


class StalledError(Exception):
    """Raised when the main task waits for something that can never happen, or when the loop turns for ever."""


class _Arrivals:
    """What the loop takes for its selector: waiting is a jump of the clock."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Delivery]:
        return self._loop.advance(timeout)


class SimulatedLoop(asyncio.BaseEventLoop):
    """A deterministic event loop.

    Args:
        choices: decides how long the network takes.

    Attributes:
        network: the only way in and out.
        after_turn: called after each turn of the loop: for invariants.
        unhandled: the errors that a callback has raised.

    """

    _selector: _Arrivals

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self._selector = _Arrivals(self)
        self._choices = choices
        self._nanoseconds = 0
        self._turns = 0
        self._arrivals: list[Delivery] = []
        self._numbers = itertools.count()
        self.network = Network(self, choices)
        self.after_turn: list[Callable[[], None]] = []
        self.unhandled: list[str] = []
        self.set_exception_handler(self._note_unhandled)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._nanoseconds / _SECOND

    @property
    def nanoseconds(self) -> int:
        """The virtual time."""
        return self._nanoseconds

    @property
    def turns(self) -> int:
        """How often the loop has turned."""
        return self._turns

    def arrive(self, delay: int, deliver: Callable[[], None]) -> int:
        """Let something arrive from outside.

        Args:
            delay: nanoseconds from now.
            deliver: called in the loop then.

        Returns:
            The instant at which it arrives.

        """
        due = self._nanoseconds + delay
        # What arrives at the same instant may be seen in any order.
        heappush(self._arrivals, (due, self._choices.deviate(3), next(self._numbers), deliver))
        return due

    def advance(self, timeout: float | None) -> list[Delivery]:
        """Move the clock by one turn, or to the next thing that happens if nothing is ready; return what arrives."""
        for look in self.after_turn:
            look()
        self._turns += 1
        if self._turns > _MOST_TURNS:
            raise StalledError(f"the loop has turned {_MOST_TURNS} times")
        until = self._nanoseconds + TURN
        if timeout is None:
            if not self._arrivals:
                raise StalledError("the main task waits for something that can never happen")
            until = max(until, self._arrivals[0][0])
        elif timeout > 0:
            # One nanosecond more: a float rounds.
            timer = self._nanoseconds + int(timeout * _SECOND) + 1
            until = max(until, min(timer, self._arrivals[0][0]) if self._arrivals else timer)
        self._nanoseconds = until
        due: list[Delivery] = []
        while self._arrivals and self._arrivals[0][0] <= until:
            due.append(heappop(self._arrivals))
        return due

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, **_options: Any
    ) -> tuple[Transport, Any]:
        return await self.network.connect(protocol_factory, str(host), int(port))

    # No more of the signature than asyncpg, aiohttp and asyncio's streams use.
    async def create_server(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, **_options: Any
    ) -> Server:
        return self.network.listen(protocol_factory, str(host), int(port))

    def _process_events(self, event_list: list[Delivery]) -> None:
        for _, _, _, deliver in event_list:
            self.call_soon(deliver)

    def _write_to_self(self) -> None:
        """Wake the loop for another thread: there is none."""

    def _note_unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")
