"""Serving metrics from an aiohttp application."""

from aiohttp import hdrs, web

from context_async_sqlalchemy.adapter_kit import Scrape, path_taken

_SCRAPED_BY = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_ANY}


def serve_metrics(app: web.Application, scrape: Scrape) -> None:
    """Add a route for the scrapes.

    Args:
        app: the application.
        scrape: answers the scrapes.

    Raises:
        RuntimeError: the application has a route of this path already. A route that is added later raises when the
            application starts.

    """

    async def answer(request: web.Request) -> web.Response:
        status, headers, body = await scrape.answer(request.headers.items())
        return web.Response(status=status, body=body, headers=headers)

    _require_free(app, scrape.path)
    resource = app.router.add_resource(scrape.path)
    for method in (hdrs.METH_GET, hdrs.METH_HEAD):
        resource.add_route(method, answer)

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
