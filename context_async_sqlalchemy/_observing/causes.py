"""Why a connection was returned to its pool."""

from context_async_sqlalchemy._context.context import Context
from context_async_sqlalchemy.observer import ReleaseCause

from .open_checkout import OpenCheckout


def release_cause(checkout: OpenCheckout, context: Context | None) -> tuple[ReleaseCause, bool]:
    """Return why a connection was returned, and whether that was an early release.

    Args:
        checkout: the checkout, which has ended.
        context: its context, or None if the context has ended or there is none.

    """
    is_early = context is not None and context.is_open
    if checkout.is_invalidated:
        return "invalidation", False
    if is_early and context is not None and context.releasing is not None:
        return context.releasing, context.releasing != "end"
    if checkout.context is not None and not is_early:
        return "end", False
    if not checkout.transactions:
        return "close", is_early
    return "commit" if checkout.transactions[-1].outcome in ("commit", "unknown") else "rollback", is_early
