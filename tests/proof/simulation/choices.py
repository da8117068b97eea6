"""The decisions of one schedule: drawn from a seed, or given one by one to replay and to shrink a schedule."""

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

_CALMEST, _WILDEST = 0.02, 0.5


class Choices:
    """The source of everything that is undecided in a schedule.

    Each decision has a number, and 0 is its plain answer: no delay, no fault. A schedule is therefore known by its
    deviations, the decisions whose answer is not 0.

    Args:
        seed: decides by pseudo-random numbers.
        deviations: decides by the numbers given, and by 0 where a decision has none; used if there is no seed.

    Attributes:
        taken: the deviations so far.

    """

    def __init__(self, seed: str | None = None, deviations: Mapping[int, int] | None = None) -> None:
        self.taken: dict[int, int] = {}
        self._given = deviations or {}
        self._count = 0
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 - not for secrets
        # Some schedules are nearly calm, so that a single fault shows; others are wild.
        self._rate = 0.0 if self._random is None else self._random.uniform(_CALMEST, _WILDEST)

    def choose(self, options: Sequence[T]) -> T:
        """Choose among options, all of them equally likely; the first one is the plain one."""
        return options[self._decide(len(options), rate=1.0)]

    def number(self, limit: int) -> int:
        """Choose a number below the limit, all of them equally likely."""
        return self._decide(limit, rate=1.0)

    def deviate(self, limit: int) -> int:
        """Choose a number below the limit, mostly 0: for the many small decisions of a schedule."""
        return self._decide(limit, rate=self._rate)

    def happens(self, probability: float) -> bool:
        """Decide whether a rare event happens."""
        return self._decide(2, rate=2 * probability) == 1

    def _decide(self, limit: int, rate: float) -> int:
        number, self._count = self._count, self._count + 1
        if self._random is None:
            value = min(self._given.get(number, 0), limit - 1)
        elif rate < 1.0 and self._random.random() >= rate:
            value = 0
        else:
            value = self._random.randrange(limit)
        if value:
            self.taken[number] = value
        return value
