"""What a run has measured: a row for each cost, with its values by size, and whether the cost grows as it may."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 1.5
"""How much more than its law a cost may grow. Costs of the same size differ by a tenth on a shared machine."""

Law = Literal["constant", "linear", "any"]
"""How a cost may grow with the size. "any" is only told."""


@dataclass(frozen=True)
class Figures:
    """The values of one cost.

    Args:
        title: what costs.
        unit: of the values.
        law: how the cost may grow.
        by_size: the values by size, the smallest size first.

    """

    title: str
    unit: str
    law: Law
    by_size: Mapping[int, float] = field(default_factory=dict[int, float])

    @property
    def growth(self) -> float:
        """How much more the cost grows than its law allows without tolerance; 1.0 is exactly as much.

        A constant cost is that of the largest size by the least of all. A linear one is compared at the two largest
        sizes, because at the small ones most of it does not depend on the size.
        """
        before, last = list(self.by_size)[-2:]
        if self.law == "linear":
            return self.by_size[last] / self.by_size[before] / (last / before)
        return self.by_size[last] / min(self.by_size.values())

    @property
    def exponent(self) -> float:
        """The power of the size that the cost grows by between the two largest sizes: 0 is constant, 1 is linear."""
        before, last = list(self.by_size)[-2:]
        return math.log(self.by_size[last] / self.by_size[before]) / math.log(last / before)

    @property
    def is_as_expected(self) -> bool:
        """Whether the cost grows as it may."""
        return self.law == "any" or self.growth <= TOLERANCE

    def row(self) -> str:
        """Return the row of the table."""
        values = "  ".join(f"{size:,}: {value:,.{_digits(value)}f}" for size, value in self.by_size.items())
        verdict = "" if self.law == "any" else f"{self.law}, x {self.growth:.2f}, power {self.exponent:+.2f}"
        return f"{self.title} ({self.unit})\n    {values}\n    {verdict}{'' if self.is_as_expected else '  TOO MUCH'}"


def _digits(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 1 else 2
