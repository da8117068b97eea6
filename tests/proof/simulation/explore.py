"""Many schedules: run them, keep those that break a rule, and tell it in a way that can be replayed."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.proof.simulation.scenarios import SCENARIOS
from tests.proof.simulation.schedule import Outcome, Token, run, shrink

_BETWEEN_COLLECTIONS = 20

SHARES = {"requests": 5, "tasks": 5, "hosts": 2, "shutdown": 2, "messages": 2, "databases": 2, "waiters": 3}
"""How many of the schedules belong to each scenario."""


@dataclass
class Summary:
    """What schedules have shown.

    Attributes:
        digests: different for schedules in which the network did something else.
        broken: the schedules that break a rule.

    """

    schedules: int = 0
    turns: int = 0
    digests: set[str] = field(default_factory=set[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    broken: dict[str, Outcome] = field(default_factory=dict[str, Outcome])

    def add(self, other: "Summary") -> None:
        """Add the schedules of another summary."""
        self.schedules += other.schedules
        self.turns += other.turns
        self.digests |= other.digests
        self.faults += other.faults
        self.broken |= other.broken

    @property
    def rules(self) -> dict[str, list[str]]:
        """The tokens of the schedules that break each rule."""
        rules: dict[str, list[str]] = {}
        for token, outcome in self.broken.items():
            for rule in dict.fromkeys(violation.rule for violation in outcome.violations):
                rules.setdefault(rule, []).append(token)
        return rules


def tokens(seed: str, schedules: int, names: Iterable[str] = SHARES) -> Iterator[Token]:
    """Name schedules of some scenarios, each according to its share."""
    shared = [name for name in names for _ in range(SHARES[name])]
    for number in range(schedules):
        yield Token(shared[number % len(shared)], seed=f"{seed}.{number}")


def explore(wanted: Iterable[Token]) -> Summary:
    """Run schedules."""
    summary = Summary()
    for token in wanted:
        outcome = run(SCENARIOS[token.scenario], token.choices())
        summary.schedules += 1
        summary.turns += outcome.turns
        summary.digests.add(outcome.digest)
        summary.faults += outcome.faults
        if outcome.violations:
            summary.broken[str(token)] = outcome
        if summary.schedules % _BETWEEN_COLLECTIONS == 0:
            # Never within a schedule: none may depend on it.
            gc.collect()
    return summary


def explain(summary: Summary, *, shrinks: bool = True) -> str:
    """Tell which rules are broken, each with an example and with its plainest form."""
    lines: list[str] = []
    for rule, found in summary.rules.items():
        token = min(found, key=lambda each: len(summary.broken[each].deviations))
        outcome = summary.broken[token]
        first = next(violation for violation in outcome.violations if violation.rule == rule)
        lines += [f"{rule}: in {len(found)} schedules, {found[:5]}", f"    {token}: {first.detail}"]
        if shrinks:
            scenario = SCENARIOS[token.partition(":")[0]]
            plain = shrink(scenario, outcome, rule)
            deviations = tuple(sorted(plain.deviations.items()))
            lines.append(f"    {Token(token.partition(':')[0], deviations=deviations)}: {plain.violations[0].detail}")
    return "\n".join(lines)
