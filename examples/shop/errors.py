"""What can go wrong in the shop, and how a client is told, whatever the web framework."""

from sqlalchemy.exc import IntegrityError


class ShopError(Exception):
    """The shop's refusal; its text is for the client."""

    status = 400


class InvalidRequestError(ShopError):
    """The request is not understood."""


class NotFoundError(ShopError):
    """There is no such product or customer."""

    status = 404


class OutOfStockError(ShopError):
    """The shop has less than was ordered."""

    status = 409


ANSWERED_ERRORS = (ShopError, IntegrityError)
"""What a framework catches outside of the database context, so that a failing COMMIT is among it."""


def answer_to(error: ShopError | IntegrityError) -> tuple[int, dict[str, str]]:
    """Give the status and the JSON body that answer an error.

    Args:
        error: one of ``ANSWERED_ERRORS``.

    """
    if isinstance(error, ShopError):
        return error.status, {"error": str(error)}
    # asyncpg's adapter puts the class of the error in front, and the details, which may hold data, in later lines.
    reason = str(error.orig).rpartition(">: ")[2].partition("\n")[0]
    return 500, {"error": f"the order could not be committed: {reason}"}
