"""The names of an aiohttp application's routes."""

from collections.abc import Callable

from aiohttp import web
from aiohttp.web_urldispatcher import AbstractRoute

from context_async_sqlalchemy.adapter_kit import route_name

_NAMED_ROUTES = 1000


def route_finder() -> Callable[[web.Request], str]:
    """Make what names the route of a request of one application; a sub-application's has its prefix."""
    # Routes are there for as long as the application, but what a router of the application's own returns may not be.
    names: dict[AbstractRoute, str] = {}

    def route_of(request: web.Request) -> str:
        route = request.match_info.route
        name = names.get(route)
        if name is None:
            resource = route.resource
            method = request.method
            name = route_name(method, None if resource is None else resource.canonical)
            # Not one for any method, as those are too that aiohttp makes for requests that match none.
            if route.method == method and len(names) < _NAMED_ROUTES:
                names[route] = name
        return name

    return route_of
