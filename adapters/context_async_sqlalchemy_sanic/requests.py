"""Everything that is read from Sanic's request, or from its stream."""

import asyncio
from typing import Any

from sanic import Request
from sanic.asgi import ASGIApp
from sanic.http.constants import Stage

from context_async_sqlalchemy.adapter_kit import route_name

AnyRequest = Request[Any, Any]
RequestTask = asyncio.Task[Any]


def route_of(request: AnyRequest) -> str:
    """Name the route of a request."""
    route = request.route
    return route_name(request.method, None if route is None else route.uri)


def is_served_by_asgi(request: AnyRequest) -> bool:
    """Tell whether an ASGI server has the connection to the client."""
    return isinstance(request.stream, ASGIApp)


def headers_are_out(request: AnyRequest) -> bool:
    """Tell whether the headers of the response have been sent."""
    return request.stream is not None and request.stream.stage is not Stage.HANDLER
