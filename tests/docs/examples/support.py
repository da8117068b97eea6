"""What the tests of the shop share: payments behind a gate, orders to send, and a look into the books."""

import asyncio

from aiohttp import ClientSession

from context_async_sqlalchemy import DBConnect, db_context
from examples.shop import repository
from examples.shop.payment import PaymentProvider
from examples.shop.pool import pool_of

Client = ClientSession


class GatedPayments(PaymentProvider):
    """Payments that wait for a gate, and remember how many connections were in use when they were asked for.

    Args:
        connection: whose pool is looked at.

    """

    def __init__(self, connection: DBConnect) -> None:
        super().__init__(latency=0)
        self.gate = asyncio.Event()
        self.gate.set()
        self._connection = connection
        self.in_use: list[int] = []

    async def charge(self, order_id: int, cents: int) -> str:
        self.in_use.append(pool_of(self._connection).checkedout())
        await self.gate.wait()
        return await super().charge(order_id, cents)


def basket(*items: tuple[int, int], customer_id: int = 1) -> dict[str, object]:
    return {
        "customer_id": customer_id,
        "items": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items],
    }


async def books(connection: DBConnect) -> repository.Bookkeeping:
    async with db_context():
        return await repository.add_up(connection)
