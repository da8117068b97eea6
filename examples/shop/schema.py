"""What the shop keeps in its database."""

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column, relationship


class Base(MappedAsDataclass, DeclarativeBase):
    """The tables of the shop."""


class Product(Base):
    """Something to buy."""

    __tablename__ = "products"
    __table_args__ = (CheckConstraint("stock >= 0", name="products_stock_not_negative"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]
    price_cents: Mapped[int]
    stock: Mapped[int]

    @property
    def summary(self) -> dict[str, int | str]:
        """What a client is shown."""
        return {"id": self.id, "name": self.name, "price_cents": self.price_cents, "stock": self.stock}


class Customer(Base):
    """Somebody who buys."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]


class OrderLine(Base):
    """A number of one product, at the price it had when it was ordered."""

    __tablename__ = "order_lines"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True, init=False)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    price_cents: Mapped[int]


class Order(Base):
    """What a customer has bought; without a receipt it is not paid yet."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    # Deferred: PostgreSQL looks for the customer at COMMIT, long after the INSERT has succeeded.
    customer_id: Mapped[int] = mapped_column(
        ForeignKey("customers.id", name="orders_have_a_customer", deferrable=True, initially="DEFERRED")
    )
    total_cents: Mapped[int]
    lines: Mapped[list[OrderLine]] = relationship()
    receipt: Mapped[str | None] = mapped_column(default=None)

    @property
    def summary(self) -> dict[str, int | str | None]:
        """What a client is shown."""
        return {
            "id": self.id,
            "customer_id": self.customer_id,
            "total_cents": self.total_cents,
            "receipt": self.receipt,
        }
