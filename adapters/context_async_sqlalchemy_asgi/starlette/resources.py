"""Serving the resources of observers, such as the metrics, from a Starlette or FastAPI application."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Mount, Route

from context_async_sqlalchemy.adapter_kit import path_taken
from context_async_sqlalchemy.observer import Resource
from context_async_sqlalchemy_asgi.resources import METHODS, ROUTE_NAME, ResourceApp


def serve(app: Starlette, resources: Sequence[Resource]) -> None:
    """Add a route for each resource.

    Args:
        app: the application.
        resources: the resources.

    Raises:
        RuntimeError: the application has a route of such a path already. A route that is added later raises when the
            application starts.

    """
    if not resources:
        return
    ours: list[BaseRoute] = [
        Route(
            resource.path,
            ResourceApp(resource),
            methods=METHODS,
            name=f"{ROUTE_NAME}_{number}",
            include_in_schema=False,
        )
        for number, resource in enumerate(resources)
    ]
    lifespan: Any = app.router.lifespan_context

    @asynccontextmanager
    async def checked_lifespan(app: Any) -> AsyncGenerator[Any]:
        _require_free(app, resources, ours)
        async with lifespan(app) as state:
            # Again, because the application's startup code may have added routes.
            _require_free(app, resources, ours)
            yield state

    _require_free(app, resources, ours)
    # The routes are the first, because Starlette takes the first that matches, which may be a dynamic one.
    app.router.routes[:0] = ours
    app.router.lifespan_context = checked_lifespan


def _require_free(app: Starlette, resources: Iterable[Resource], ours: Sequence[BaseRoute]) -> None:
    """Refuse a second route of the same path, because Starlette would serve only the first."""
    others = [route for route in app.router.routes if not any(route is each for each in ours)]
    for resource in resources:
        rival = _rival(others, resource.path)
        if rival is not None:
            raise path_taken(resource, repr(rival))


def _rival(routes: Iterable[Any], path: str) -> object | None:
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        rival: object | None = None
        if isinstance(route, Mount):
            if route.path == path:
                return route
            if path.startswith(f"{route.path}/"):
                rival = _rival(route.routes, path[len(route.path) :])
        elif included is not None:
            # FastAPI (0.165) keeps an included router as one route, so its routes are searched here.
            rival = _rival([context.starlette_route or context for context in included()], path)
        elif any(_is_reached(route, path, method) for method in METHODS):
            rival = getattr(route, "original_route", route)
        if rival is not None:
            return rival
    return None


def _is_reached(route: Any, path: str, method: str) -> bool:
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    match, found = route.matches(scope)
    return match is Match.FULL and not found.get("path_params")
