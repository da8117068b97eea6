"""Serving metrics from a Sanic application."""

from collections.abc import Sequence
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic_routing.exceptions import RouteExists

from context_async_sqlalchemy.adapter_kit import exposition_at, path_taken, rendered
from context_async_sqlalchemy.observer import Observer


def serve_metrics(app: Sanic[Any, Any], path: str, observers: Sequence[Observer]) -> None:
    """Add a route for the observer that can be scraped; without such an observer, do nothing.

    Args:
        app: the application.
        path: the route's path.
        observers: the application's observers.

    Raises:
        RuntimeError: the application has a route of this path already. For a route that is added later, Sanic raises
            ``RouteExists``.
        ValueError: the path does not begin with a slash, or several observers can be scraped.

    """
    exposition = exposition_at(path, observers)
    if exposition is None:
        return

    async def scrape(request: Request[Any, Any]) -> HTTPResponse:
        asked: Any = request.headers
        headers, body = await rendered(exposition, asked.get("accept", ""), asked.get("accept-encoding", ""))
        return HTTPResponse(body, headers=dict(headers))

    try:
        app.add_route(scrape, path, methods=("GET", "HEAD"), name="context_async_sqlalchemy_metrics")
    except RouteExists as error:
        raise path_taken(path, str(error)) from error
