"""The template of a request's route, for metrics and spans. They never show the path, whose values have no limit."""

from typing import Any

from context_async_sqlalchemy.adapter_kit import route_name

from .protocol import Scope


def route_of(scope: Scope) -> str:
    """Return the name of the route of a request or a websocket, for metrics and spans."""
    return route_name(scope.get("method", "GET"), route_template(scope))


def route_template(scope: Scope) -> str | None:
    """Return the template of the route that a request has matched, with its mounts, or None.

    Args:
        scope: the request, after the application has found its route. FastAPI stores the route, and Starlette does
            since 1.8 (routing.py). FastAPI stores the route of an included router under a separate key. Litestar stores
            the template. Nothing stores the mounts.

    """
    if "path_template" in scope:
        template: str | None = scope["path_template"]
        return template
    route: Any = scope.get("route")
    if "fastapi" in scope and "effective_route_context" in scope["fastapi"]:
        known = scope["fastapi"]["effective_route_context"]
        route = known.original_route
    else:
        known = route
    # A Mount has no endpoint, and its path is not that of the request.
    template = str(known.path_format) if hasattr(route, "endpoint") and hasattr(known, "path_format") else ""
    if "app_root_path" not in scope and template:
        return template
    if "endpoint" not in scope or "router" not in scope:
        return None
    from .starlette.templates import template_by_matching  # noqa: PLC0415 - only where Starlette is in use

    return template_by_matching(scope, template) or None
