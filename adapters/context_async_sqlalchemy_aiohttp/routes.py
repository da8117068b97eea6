"""The names of an aiohttp application's routes, for metrics and spans."""

from collections.abc import Callable

from aiohttp import web
from aiohttp.web_urldispatcher import AbstractRoute

from context_async_sqlalchemy.adapter_kit import route_name

_NAMED_ROUTES = 1000


def route_finder() -> Callable[[web.Request], str]:
    """Return a function that names the routes of one application's requests.

    The name of a sub-application's route includes the prefix of the sub-application.
    """
    # The size is limited, because a custom router may make a route for each request.
    names: dict[AbstractRoute, str] = {}

    def route_of(request: web.Request) -> str:
        route = request.match_info.route
        name = names.get(route)
        if name is None:
            resource = route.resource
            method = request.method
            name = route_name(method, None if resource is None else resource.canonical)
            # A name has the request's method in it, so a route for any method has no single name to store. aiohttp
            # also makes such a route for each request that matches none.
            if route.method == method and len(names) < _NAMED_ROUTES:
                names[route] = name
        return name

    return route_of
