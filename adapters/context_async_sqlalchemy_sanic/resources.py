"""Serving the resources of observers, such as the metrics, from a Sanic application."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic_routing.exceptions import RouteExists

from context_async_sqlalchemy.adapter_kit import path_taken
from context_async_sqlalchemy.observer import Resource, ResourceRequest

_METHODS = ("GET", "HEAD")


def serve(app: Sanic[Any, Any], resources: Iterable[Resource]) -> None:
    """Add a route for each resource.

    Args:
        app: the application.
        resources: the resources.

    Raises:
        RuntimeError: the application has a route of such a path already. For a route that is added later, Sanic raises
            ``RouteExists``.

    """
    paths: set[str] = set()
    for number, resource in enumerate(resources):
        # Sanic takes a path with a slash at its end for the same, unless the application says otherwise.
        if not app.strict_slashes and resource.path.rstrip("/") in paths:
            continue
        paths.add(resource.path)
        try:
            app.add_route(
                _answered_by(resource),
                resource.path,
                methods=_METHODS,
                name=f"context_async_sqlalchemy_{number}",
            )
        except RouteExists as error:
            raise path_taken(resource, str(error)) from error


def _answered_by(resource: Resource) -> Callable[[Request[Any, Any]], Coroutine[Any, Any, HTTPResponse]]:
    async def answer(request: Request[Any, Any]) -> HTTPResponse:
        headers: Any = request.headers
        asked = ResourceRequest.of(request.path, request.query_string, headers.items())
        status, answered, body = await resource.answer(asked)
        return HTTPResponse(body, status, headers=dict(answered))

    return answer
