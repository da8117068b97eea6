"""The limits of the names of routes. Each name is a label of metrics and a word in warnings, so it must be bounded.

The adapters name routes by templates, whose number is that of the application's routes. But a custom router, or code
inside the application, may tell a template that has a value of the client in it.
"""

import logging
from collections.abc import Callable
from typing import Any

from context_async_sqlalchemy.observer import NO_ROUTE, OTHER_ROUTE, UNMATCHED_ROUTE

logger = logging.getLogger("context_async_sqlalchemy")

RouteOf = Callable[[Any], str]
"""Returns the route of a framework's request, as ``adapter_kit.route_name`` makes it."""

DEFAULT_MAX_ROUTES = 1000
_LONGEST_NAME = 500


def limited(route_of: RouteOf, max_routes: int) -> RouteOf:
    """Return a function that names routes like the given one, but bounds the names.

    A name that is too long, or comes after ``max_routes`` others, becomes ``OTHER_ROUTE``, which is logged once.
    Characters that break a line of a log or control a terminal are escaped.

    Args:
        route_of: returns the name of a request's route.
        max_routes: the number of different names.

    """
    # The key is the name as given, and the value is the name for observers.
    names = {name: name for name in (NO_ROUTE, OTHER_ROUTE, UNMATCHED_ROUTE)}
    most = max_routes + len(names)
    has_warned = False

    def admit(name: str) -> str:
        nonlocal has_warned
        if len(name) <= _LONGEST_NAME and len(names) < most:
            shown = names[name] = _printable(name)
            return shown
        if not has_warned:
            has_warned = True
            logger.warning(
                "the route %r and further ones count as %r in metrics, spans and warnings: the application has more "
                "than max_routes=%d routes, or this name has more than %d characters. If the names have values of "
                "requests in them, let the framework route by templates; else allow more (setup_db(max_routes=...)). "
                "This is said once",
                name[:_LONGEST_NAME],
                OTHER_ROUTE,
                max_routes,
                _LONGEST_NAME,
            )
        return OTHER_ROUTE

    def limited_route_of(request: Any) -> str:
        name = route_of(request)
        known = names.get(name)
        return admit(name) if known is None else known

    return limited_route_of


def _printable(name: str) -> str:
    """Return a name in which each character that is not printable is escaped as in a literal of Python."""
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)
