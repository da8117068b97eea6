"""What the route of a request is called in metrics, spans and warnings."""

from context_async_sqlalchemy.observer import UNMATCHED_ROUTE

_OTHER_METHOD = "_OTHER"
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def route_name(method: str, template: str | None) -> str:
    """Name a route: ``POST /orders/{id}``.

    Args:
        method: the request's; one that HTTP does not know is ``_OTHER``, as in OpenTelemetry's semantic conventions
            (``http.request.method``), as clients may send any.
        template: the path's template, as the framework writes it; None for a request that matches no route.

    """
    if not template:
        return UNMATCHED_ROUTE
    return f"{method if method in _METHODS else _OTHER_METHOD} {template}"
