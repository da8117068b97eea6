"""The template of a request's route, for metrics and spans: never its path, whose values have no bound."""

from typing import Any

from .protocol import Scope


def route_template(scope: Scope) -> str | None:
    """Return the template of the route that a request has matched, with the mounts around it, or None.

    Args:
        scope: the request, once the application has routed it. Starlette and FastAPI leave the route there
            (starlette 1.10, routing.py), Litestar its template. FastAPI's routers leave theirs apart from it.

    """
    if "path_template" in scope:
        template: str | None = scope["path_template"]
        return template
    route: Any = scope.get("route")
    included: Any = scope.get("fastapi", {}).get("effective_route_context")
    # A Mount has no endpoint of its own, and its path is part of the prefix.
    path: str = getattr(included, "path_format", None) or (getattr(route, "path", "") if hasattr(route, "endpoint") else "")
    return _mount_prefix(scope) + path or None


def _mount_prefix(scope: Scope) -> str:
    if "app_root_path" not in scope:
        return ""
    prefix: str = scope["root_path"][len(scope["app_root_path"]) :]
    names = {str(value): name for name, value in (scope.get("path_params") or {}).items()}
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in prefix.split("/"))
