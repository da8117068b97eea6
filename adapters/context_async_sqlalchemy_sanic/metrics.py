"""Serving metrics from a Sanic application."""

import asyncio
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic_routing.exceptions import RouteExists

from context_async_sqlalchemy.observer import Exposition


def serve_metrics(app: Sanic[Any, Any], path: str, exposition: Exposition) -> None:
    """Add a route that can be scraped.

    Args:
        app: the application.
        path: the route's path.
        exposition: what renders the metrics.

    Raises:
        RuntimeError: the application has a route of this path already. If the other route is added later, Sanic raises
            its ``RouteExists`` there.

    """

    async def scrape(request: Request[Any, Any]) -> HTTPResponse:
        asked: Any = request.headers
        # In a thread: rendering some hundred routes takes some ten milliseconds, for which other requests would wait.
        headers, body = await asyncio.to_thread(
            exposition.expose, asked.get("accept", ""), asked.get("accept-encoding", "")
        )
        return HTTPResponse(body, headers=dict(headers))

    try:
        app.add_route(scrape, path, methods=("GET", "HEAD"), name="context_async_sqlalchemy_metrics")
    except RouteExists as error:
        raise RuntimeError(
            f"setup_db serves metrics at {path}, but the application has a route there already: give setup_db another "
            "metrics_path, or metrics_path=None and serve the observer's expose() yourself"
        ) from error
