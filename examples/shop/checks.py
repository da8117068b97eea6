"""Whether everything went as it should: what was answered, what is in the database, what was logged."""

import logging
from collections import Counter
from collections.abc import Sequence

from context_async_sqlalchemy import DBConnect, db_context
from examples.shop import repository
from examples.shop.database import INITIAL_STOCK, PRODUCTS
from examples.shop.load import PAY_EARLY, PAY_LATE
from examples.shop.pool import pool_of
from examples.shop.tally import PhaseTally


class ErrorLog(logging.Handler):
    """Collects what is logged as an error: unhandled exceptions by aiohttp and asyncio, leaks by the library."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a message."""
        self.messages[f"{record.name}: {record.getMessage()}"] += 1


async def find_problems(connection: DBConnect, phases: Sequence[PhaseTally], errors: ErrorLog) -> list[str]:
    """Look for whatever was not expected; nothing may be running any more.

    Args:
        connection: the shop's database.
        phases: all that was asked since the database was made.
        errors: what was logged meanwhile.

    """
    problems = [f"logged {count} times: {message}" for message, count in errors.messages.items()]
    in_use = pool_of(connection).checkedout()
    if in_use:
        problems.append(f"{in_use} connections are still checked out after the last answer")
    for phase in phases:
        for name, route in phase.routes.items():
            unexpected = {status: n for status, n in route.statuses.items() if status != str(route.expected)}
            problems += [
                f"{phase.name}: {name} answered {status} {count} times" for status, count in unexpected.items()
            ]
    return problems + await _wrong_sums(connection, phases)


def orders_answered(phases: Sequence[PhaseTally]) -> int:
    """Count the orders that clients were told are placed."""
    return sum(_created(phases, name) for name in ("POST /orders", PAY_LATE, PAY_EARLY, "POST /orders-impossible"))


async def _wrong_sums(connection: DBConnect, phases: Sequence[PhaseTally]) -> list[str]:
    async with db_context():
        books = await repository.add_up(connection)
    sums = (
        ("orders in the database", books.orders, "answered with 201", orders_answered(phases)),
        ("paid orders", books.paid_orders, "answered", _created(phases, PAY_LATE) + _created(phases, PAY_EARLY)),
        ("pieces sold", books.sold, "missing from the stock", PRODUCTS * INITIAL_STOCK - books.in_stock),
    )
    return [f"{found} {what}, but {expected} {other}" for what, found, other, expected in sums if found != expected]


def _created(phases: Sequence[PhaseTally], name: str) -> int:
    return sum(phase.routes[name].statuses["201"] for phase in phases if name in phase.routes)
