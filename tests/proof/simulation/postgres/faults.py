"""What goes wrong with a model server: decided anew for each message, within a budget."""

from collections import Counter
from typing import Literal

from tests.proof.simulation.choices import Choices
from tests.proof.simulation.network import Reception

from .sql import Statement

Fate = Literal["plain", "slow", "cut before", "cut after", "silent", "refused", "killed"]
"""``cut``: the connection ends before, or after, the statement took effect, without an answer. ``silent``: it takes
effect, and the answer never comes. ``refused``: an error, as after a conflict. ``killed``: an administrator's command
ends the process."""

_COMMIT: tuple[Fate, ...] = ("slow", "cut before", "cut after", "silent", "refused", "killed")
_ROLLBACK: tuple[Fate, ...] = ("slow", "cut before", "killed", "silent")
_STATEMENT: tuple[Fate, ...] = ("slow", "slow", "refused", "cut before", "killed")
# asyncpg 0.32 takes a transaction for open whose BEGIN was refused, and its next BEGIN is a SAVEPOINT.
_BEGIN: tuple[Fate, ...] = ("slow", "cut before", "killed")
_STARTUP: tuple[Fate, ...] = ("slow", "cut before", "silent", "refused")


class Faults:
    """Decides what goes wrong.

    Args:
        choices: the schedule.
        budget: how many faults there are at most.

    Attributes:
        counts: how often each fault has happened.

    """

    def __init__(self, choices: Choices, budget: int = 0) -> None:
        self._choices = choices
        self.budget = budget
        self.counts: Counter[str] = Counter()

    def of_connect(self) -> Reception:
        """Decide what becomes of a connection that is asked for."""
        if not self._strikes(0.06):
            return "accepts"
        reception: Reception = self._choices.choose(("refuses", "is silent"))
        self.counts[f"connect {reception}"] += 1
        return reception

    def of_startup(self) -> Fate:
        """Decide how a new process answers the start of a session."""
        return self._fate("startup", 0.04, _STARTUP)

    def of_statement(self, statement: Statement, *, has_written: bool) -> Fate:
        """Decide what becomes of a statement.

        Args:
            statement: the statement.
            has_written: whether its transaction has written a row.

        """
        if statement.kind == "commit":
            return self._fate("COMMIT", 0.25, _COMMIT)
        if statement.kind == "rollback":
            # SQLAlchemy bounds no statement of its first connect, so the first ROLLBACK has to be answered.
            return self._fate("ROLLBACK", 0.08, _ROLLBACK if has_written else _ROLLBACK[:-1])
        if statement.kind == "begin":
            return self._fate("BEGIN", 0.03, _BEGIN)
        return self._fate("statement", 0.04, _STATEMENT)

    def of_pause(self) -> float | None:
        """Decide after how many seconds an administrator ends a process, if its transaction is still open then."""
        if not self._strikes(0.015):
            return None
        self.counts["killed in a pause"] += 1
        return self._choices.choose((0.000_2, 0.002, 0.01, 0.05))

    def delay(self) -> float:
        """Choose how many seconds a slow answer takes."""
        return self._choices.choose((0.001, 0.004, 0.02, 0.3))

    def _fate(self, of: str, probability: float, fates: tuple[Fate, ...]) -> Fate:
        if not self._strikes(probability):
            return "plain"
        fate = self._choices.choose(fates)
        self.counts[f"{of} {fate}"] += 1
        return fate

    def _strikes(self, probability: float) -> bool:
        if self.budget <= 0 or not self._choices.happens(probability):
            return False
        self.budget -= 1
        return True
