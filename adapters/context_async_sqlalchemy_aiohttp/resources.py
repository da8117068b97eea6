"""Serving the resources of observers, such as the metrics, from an aiohttp application."""

from collections.abc import Iterable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from context_async_sqlalchemy.adapter_kit import path_taken
from context_async_sqlalchemy.observer import Resource, ResourceRequest

_METHODS = (hdrs.METH_GET, hdrs.METH_HEAD)
_COMPETING = {*_METHODS, hdrs.METH_ANY}


def serve(app: web.Application, resources: Iterable[Resource]) -> None:
    """Add a route for each resource.

    Args:
        app: the application.
        resources: the resources.

    Raises:
        RuntimeError: the application has a route of such a path already. A route that is added later raises when the
            application starts.

    """
    for resource in resources:
        _serve(app, resource)


def _serve(app: web.Application, resource: Resource) -> None:
    _require_free(app, resource, resource.path)
    added = app.router.add_resource(resource.path)
    for method in _METHODS:
        added.add_route(method, _answered_by(resource))

    async def require_still_free(_app: web.Application) -> None:
        # add_subapp() has added its prefix to the path of a sub-application's resource by now.
        _require_free(app, resource, added.canonical, added)

    app.on_startup.append(require_still_free)


def _answered_by(resource: Resource) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        asked = ResourceRequest.of(request.path, request.rel_url.raw_query_string, request.headers.items())
        status, headers, body = await resource.answer(asked)
        return web.Response(status=status, body=body, headers=headers)

    return answer


def _require_free(
    app: web.Application, resource: Resource, path: str, ours: web.AbstractResource | None = None
) -> None:
    """Refuse a second route of the same path, because aiohttp would serve only the first.

    A dynamic one does not compete: ``UrlDispatcher.resolve`` looks for the most explicit path first.
    """
    for other in app.router.resources():
        if other is ours or other.canonical != path:
            continue
        if not isinstance(other, web.PlainResource) or any(route.method in _COMPETING for route in other):
            raise path_taken(resource, repr(other))
