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
        scope: the request, after the application has found its route. FastAPI and Starlette 1.10 store the route
            (routing.py). Starlette 0.45 does not. Litestar stores the template. FastAPI stores the route of an included
            router under a separate key.

    """
    if "path_template" in scope:
        template: str | None = scope["path_template"]
        return template
    included: Any = scope.get("fastapi", {}).get("effective_route_context")
    route: Any = scope.get("route") if included is None else included.original_route
    # A Mount is left out, because its path is part of the prefix. A Mount has no endpoint.
    path: str = (
        getattr(route if included is None else included, "path_format", "") if hasattr(route, "endpoint") else ""
    )
    return _mount_prefix(scope) + path or None


def _mount_prefix(scope: Scope) -> str:
    if "app_root_path" not in scope:
        return ""
    prefix: str = scope["root_path"][len(scope["app_root_path"]) :]
    parameters: dict[str, Any] = scope.get("path_params") or {}
    names = {str(value): name for name, value in parameters.items()}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in prefix.split("/"))
