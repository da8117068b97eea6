"""Serving metrics from a Sanic application."""

from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic_routing.exceptions import RouteExists

from context_async_sqlalchemy.adapter_kit import Scrape, path_taken


def serve_metrics(app: Sanic[Any, Any], scrape: Scrape) -> None:
    """Add a route for the scrapes.

    Args:
        app: the application.
        scrape: answers the scrapes.

    Raises:
        RuntimeError: the application has a route of this path already. For a route that is added later, Sanic raises
            ``RouteExists``.

    """

    async def answer(request: Request[Any, Any]) -> HTTPResponse:
        asked: Any = request.headers
        status, headers, body = await scrape.answer(asked.items())
        return HTTPResponse(body, status, headers=dict(headers))

    try:
        app.add_route(answer, scrape.path, methods=("GET", "HEAD"), name="context_async_sqlalchemy_metrics")
    except RouteExists as error:
        raise path_taken(scrape.path, str(error)) from error
