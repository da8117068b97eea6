"""What the shop does, for any web framework."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from context_async_sqlalchemy import DBConnect, commit_db_session
from examples.shop import repository
from examples.shop.errors import NotFoundError, OutOfStockError
from examples.shop.payment import PaymentProvider
from examples.shop.schema import Order, OrderLine, Product

_PRODUCTS_PER_PAGE = 20
_ORDERS_PER_PAGE = 50


@dataclass(frozen=True)
class BasketItem:
    """A number of one product."""

    product_id: int
    quantity: int


@dataclass(frozen=True)
class Basket:
    """What a customer wants to buy."""

    customer_id: int
    items: list[BasketItem]


@dataclass(frozen=True)
class Shop:
    """The use cases; each runs in the database context of the request that calls it.

    Args:
        connection: the shop's database.
        payments: who takes the money.

    """

    connection: DBConnect
    payments: PaymentProvider

    async def products(self, after: int = 0) -> Sequence[Product]:
        """Give a page of products: those that follow one, by their ids."""
        return await repository.list_products(self.connection, after, _PRODUCTS_PER_PAGE)

    async def product(self, product_id: int) -> Product:
        """Give a product.

        Raises:
            NotFoundError: there is none with this id.

        """
        product = await repository.find_product(self.connection, product_id)
        if product is None:
            raise NotFoundError(f"there is no product {product_id}")
        return product

    async def place_order(self, basket: Basket) -> Order:
        """Write an order that is paid on delivery: stock and order change in one transaction, or not at all.

        Raises:
            NotFoundError: there is no such customer.
            OutOfStockError: there is not enough of a product, or no such product.

        """
        if not await repository.customer_exists(self.connection, basket.customer_id):
            raise NotFoundError(f"there is no customer {basket.customer_id}")
        return await self._write_order(basket)

    async def place_order_late(self, basket: Basket) -> Order:
        """Write an order and have it paid, all in one transaction: its connection is held while the payment takes.

        Raises:
            NotFoundError, OutOfStockError: see ``place_order``.

        """
        order = await self.place_order(basket)
        return await self._pay(order)

    async def place_order_early(self, basket: Basket) -> Order:
        """Do the same, but commit the order and give the connection back before the payment.

        An order whose payment fails stays in the books without a receipt: that is the price, and a job for a retry.

        Raises:
            NotFoundError, OutOfStockError: see ``place_order``.

        """
        order = await self.place_order(basket)
        await commit_db_session(self.connection)
        return await self._pay(order)

    async def place_impossible_order(self, basket: Basket) -> Order:
        """Write an order without asking whether its customer exists: every statement succeeds, the COMMIT may not.

        Raises:
            OutOfStockError: see ``place_order``.

        """
        return await self._write_order(basket)

    async def newest_order_id(self) -> int:
        """Give the id of the newest order, 0 if there is none."""
        return await repository.newest_order_id(self.connection)

    async def export_orders(self, up_to: int, at_most: int) -> AsyncGenerator[Sequence[Order]]:
        """Give the orders from one on, page by page, the newest first.

        No connection is held between the pages: their reader may be as slow as it likes. So it is no snapshot; an
        order may be shown with the receipt that it got while the export ran.

        Args:
            up_to: the id of the first one.
            at_most: how many.

        """
        while at_most > 0:
            page = await repository.list_orders(self.connection, up_to, min(at_most, _ORDERS_PER_PAGE))
            await commit_db_session(self.connection)
            if not page:
                return
            yield page
            up_to = page[-1].id - 1
            at_most -= len(page)

    async def _write_order(self, basket: Basket) -> Order:
        lines: list[OrderLine] = []
        # Always in the same order: two orders for the same two products would wait for each other's locks.
        for item in sorted(basket.items, key=lambda item: item.product_id):
            price = await repository.take_from_stock(self.connection, item.product_id, item.quantity)
            if price is None:
                raise OutOfStockError(f"there are no {item.quantity} of product {item.product_id}")
            lines.append(OrderLine(product_id=item.product_id, quantity=item.quantity, price_cents=price))
        return await repository.add_order(self.connection, basket.customer_id, lines)

    async def _pay(self, order: Order) -> Order:
        receipt = await self.payments.charge(order.id, order.total_cents)
        await repository.add_receipt(self.connection, order, receipt)
        return order
