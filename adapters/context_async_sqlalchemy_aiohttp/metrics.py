"""Serving metrics from an aiohttp application."""

from collections.abc import Iterable

from aiohttp import hdrs, web

from context_async_sqlalchemy.adapter_kit import exposition_at, path_taken, rendered
from context_async_sqlalchemy.observer import Observer

_SCRAPED_BY = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_ANY}


def serve_metrics(app: web.Application, path: str, observers: Iterable[Observer]) -> None:
    """Add a route for the observer that can be scraped; without such an observer, do nothing.

    Args:
        app: the application.
        path: the route's path.
        observers: the application's observers.

    Raises:
        RuntimeError: the application has a route of this path already. A route that is added later raises when the
            application starts.
        ValueError: the path does not begin with a slash, or several observers can be scraped.

    """
    exposition = exposition_at(path, observers)
    if exposition is None:
        return

    async def scrape(request: web.Request) -> web.Response:
        asked = request.headers
        headers, body = await rendered(exposition, asked.get(hdrs.ACCEPT, ""), asked.get(hdrs.ACCEPT_ENCODING, ""))
        return web.Response(body=body, headers=headers)

    _require_free(app, path)
    resource = app.router.add_resource(path)
    for method in (hdrs.METH_GET, hdrs.METH_HEAD):
        resource.add_route(method, scrape)

    async def require_still_free(_app: web.Application) -> None:
        # add_subapp() has added its prefix to the path of a sub-application's resource by now.
        _require_free(app, resource.canonical, resource)

    app.on_startup.append(require_still_free)


def _require_free(app: web.Application, path: str, ours: web.AbstractResource | None = None) -> None:
    """Refuse a second resource of the same path, because aiohttp would serve only the first.

    A dynamic resource does not compete: ``UrlDispatcher.resolve`` looks for the most explicit path first.
    """
    for resource in app.router.resources():
        if resource is ours or resource.canonical != path:
            continue
        if not isinstance(resource, web.PlainResource) or any(route.method in _SCRAPED_BY for route in resource):
            raise path_taken(path, repr(resource))
