"""Serving metrics from an aiohttp application."""

from collections.abc import Iterable

from aiohttp import hdrs, web

from context_async_sqlalchemy.adapter_kit import exposition_at, path_taken, rendered
from context_async_sqlalchemy.observer import Observer

_SCRAPED_BY = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_ANY}


def serve_metrics(app: web.Application, path: str, observers: Iterable[Observer]) -> None:
    """Add a route for the observer that can be scraped, if there is one.

    Args:
        app: the application.
        path: the route's path.
        observers: those of the application.

    Raises:
        RuntimeError: the application has a route of this path already; raised when the application starts if the
            other route is added later.
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
        # A sub-application's path has got its prefix by now.
        _require_free(app, resource.canonical, resource)

    app.on_startup.append(require_still_free)


def _require_free(app: web.Application, path: str, ours: web.AbstractResource | None = None) -> None:
    """Refuse a second resource of the same path: aiohttp serves the first, and says nothing.

    What is dynamic is no rival: aiohttp looks for the most explicit path first (``UrlDispatcher.resolve``).
    """
    for resource in app.router.resources():
        if resource is ours or resource.canonical != path:
            continue
        if not isinstance(resource, web.PlainResource) or any(route.method in _SCRAPED_BY for route in resource):
            raise path_taken(path, repr(resource))
