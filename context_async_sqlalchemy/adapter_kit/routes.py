"""The name of a request's route in metrics, spans and warnings. See docs/decisions/0006."""

from context_async_sqlalchemy.observer import UNMATCHED_ROUTE

_OTHER_METHOD = "_OTHER"
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def route_name(method: str, template: str | None) -> str:
    """Return the name of a route, ``POST /orders/{id}``.

    Args:
        method: the method of the request. A method that HTTP does not know becomes ``_OTHER``, as in OpenTelemetry's
            semantic conventions (``http.request.method``), because clients may send any method.
        template: the template of the path, as the framework writes it, or None if the request matches no route.

    """
    if not template:
        return UNMATCHED_ROUTE
    return f"{method if method in _METHODS else _OTHER_METHOD} {template}"
