"""What the shop reads and writes; no session is handed about, each function asks for the one of its request."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from context_async_sqlalchemy import DBConnect, db_session
from examples.shop.schema import Customer, Order, OrderLine, Product


@dataclass(frozen=True)
class Bookkeeping:
    """What the tables add up to."""

    orders: int
    paid_orders: int
    sold: int
    in_stock: int


async def list_products(connection: DBConnect, after: int, limit: int) -> Sequence[Product]:
    """Give the products that follow one, by their ids."""
    session = await db_session(connection)
    return (await session.scalars(select(Product).where(Product.id > after).order_by(Product.id).limit(limit))).all()


async def find_product(connection: DBConnect, product_id: int) -> Product | None:
    """Give a product, if there is one."""
    session = await db_session(connection)
    return await session.get(Product, product_id)


async def customer_exists(connection: DBConnect, customer_id: int) -> bool:
    """Tell whether somebody has this id."""
    session = await db_session(connection)
    return await session.get(Customer, customer_id) is not None


async def take_from_stock(connection: DBConnect, product_id: int, quantity: int) -> int | None:
    """Take a quantity of a product out of stock and give its price; None if there is not enough of it."""
    session = await db_session(connection)
    taking = (
        update(Product)
        .where(Product.id == product_id, Product.stock >= quantity)
        .values(stock=Product.stock - quantity)
        .returning(Product.price_cents)
        .execution_options(synchronize_session=False)
    )
    return await session.scalar(taking)


async def add_order(connection: DBConnect, customer_id: int, lines: list[OrderLine]) -> Order:
    """Write an order, which has its id afterwards; it is not committed yet."""
    session = await db_session(connection)
    order = Order(
        customer_id=customer_id, total_cents=sum(line.quantity * line.price_cents for line in lines), lines=lines
    )
    session.add(order)
    await session.flush()
    return order


async def add_receipt(connection: DBConnect, order: Order, receipt: str) -> None:
    """Write down that an order of this request is paid."""
    session = await db_session(connection)
    order.receipt = receipt
    await session.flush()


async def newest_order_id(connection: DBConnect) -> int:
    """Give the id of the newest order, 0 if there is none."""
    session = await db_session(connection)
    return await session.scalar(select(func.max(Order.id))) or 0


async def list_orders(connection: DBConnect, up_to: int, limit: int) -> Sequence[Order]:
    """Give orders without their lines, the newest first, from one on."""
    session = await db_session(connection)
    return (await session.scalars(select(Order).where(Order.id <= up_to).order_by(Order.id.desc()).limit(limit))).all()


async def add_up(connection: DBConnect) -> Bookkeeping:
    """Add the tables up."""
    session = await db_session(connection)
    orders, paid = (await session.execute(select(func.count(Order.id), func.count(Order.receipt)))).one()
    sold = await session.scalar(select(func.sum(OrderLine.quantity)))
    in_stock = await session.scalar(select(func.sum(Product.stock)))
    return Bookkeeping(orders=orders, paid_orders=paid, sold=sold or 0, in_stock=in_stock or 0)
