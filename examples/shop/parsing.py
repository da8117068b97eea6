"""From the text of a request to what the use cases take."""

import json
from typing import cast

from examples.shop.domain import Basket, BasketItem
from examples.shop.errors import InvalidRequestError

_LARGEST = 2**31 - 1  # PostgreSQL's integer


def parse_number(text: str, name: str) -> int:
    """Read a whole number, zero or more, from a path or a query.

    Args:
        text: the digits.
        name: what it is called in the error.

    Raises:
        InvalidRequestError: it is no such number, or too large for the database.

    """
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST)) and int(text) <= _LARGEST):
        raise InvalidRequestError(f"{name} must be a whole number from 0 to {_LARGEST}, not {text!r}")
    return int(text)


def parse_basket(body: bytes) -> Basket:
    """Read ``{"customer_id": 1, "items": [{"product_id": 2, "quantity": 3}]}``.

    Args:
        body: the JSON text.

    Raises:
        InvalidRequestError: it is something else.

    """
    try:
        document = json.loads(body)
    except ValueError as error:
        raise InvalidRequestError(f"the body must be JSON: {error}") from error
    order = _object(document, "the body")
    items = order.get("items")
    if not isinstance(items, list) or not items:
        raise InvalidRequestError("items must be a list with at least one element")
    return Basket(
        customer_id=_positive(order, "customer_id"),
        items=[_item(_object(item, "an element of items")) for item in cast("list[object]", items)],
    )


def _item(item: dict[str, object]) -> BasketItem:
    return BasketItem(product_id=_positive(item, "product_id"), quantity=_positive(item, "quantity"))


def _object(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{name} must be a JSON object")
    return cast("dict[str, object]", value)


def _positive(fields: dict[str, object], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LARGEST:
        raise InvalidRequestError(f"{name} must be a whole number from 1 to {_LARGEST}")
    return value
