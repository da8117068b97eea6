"""A payment provider that takes its time, as those behind a network do."""

import asyncio
from random import Random

LATENCY = 0.15
"""The mean of the seconds that a payment takes."""


class PaymentProvider:
    """Accepts every payment after a while.

    Args:
        latency: the mean of the seconds a payment takes; each differs by up to a fifth.
        seed: of the differences, so that every run has the same ones.

    """

    def __init__(self, latency: float = LATENCY, seed: int = 1) -> None:
        self._latency = latency
        self._random = Random(seed)

    async def charge(self, order_id: int, cents: int) -> str:
        """Take the money and give a receipt.

        Args:
            order_id: what is paid.
            cents: how much.

        """
        await asyncio.sleep(self._latency * self._random.uniform(0.8, 1.2))
        return f"receipt-{order_id}-{cents}"
