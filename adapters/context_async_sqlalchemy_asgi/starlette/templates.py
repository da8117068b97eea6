"""The template of a request's route from the routes themselves, where Starlette does not tell the whole template."""

from collections.abc import Iterable
from typing import Any

from starlette.routing import Host, Match, Mount, Router

from context_async_sqlalchemy_asgi.protocol import Scope

_REST_OF_PATH = "/{path}"
# An application may be mounted in itself, so that each depth has a template of its own.
_MOST_MOUNTS = 10


def template_by_matching(scope: Scope, last: str) -> str:
    """Return the template of a request with those of its mounts, or an empty string if nothing matches.

    The router is asked once more, because a request keeps neither its mounts nor, before Starlette 1.8, its route. The
    values of the request cannot tell the templates: ``{id:int}`` has converted ``007`` to 7.

    Args:
        scope: the request, after the application has found its route.
        last: the template of the last route that the request has matched, as far as its scope tells.

    """
    router: Any = scope.get("router")
    if not isinstance(router, Router):
        return ""
    root_path = scope.get("app_root_path", scope.get("root_path", ""))
    asked: dict[str, Any] = {**scope, "root_path": root_path, "path_params": {}, "fastapi": {}}
    template = ""
    routes: Iterable[Any] = router.routes
    for _ in range(_MOST_MOUNTS):
        if last and asked["root_path"] == scope["root_path"]:
            # No mount is left. The routes are not searched, because an application may have thousands.
            return template + last
        route, found = _first_match((each for each in _each(routes) if not last or _holds_routes(each)), asked)
        if not _holds_routes(route):
            return template + str(getattr(route, "path_format", ""))
        if isinstance(route, Mount):
            template += route.path_format.removesuffix(_REST_OF_PATH)
        asked |= found
        # A middleware around the mounted application hides its routes, so that there may be none.
        routes = route.routes
    return template


def _first_match(routes: Iterable[Any], scope: Scope) -> tuple[Any, Scope]:
    partial: tuple[Any, Scope] = (None, {})
    for route in routes:
        match, found = route.matches(scope)
        if match is Match.FULL:
            return route, found
        if match is Match.PARTIAL and partial[0] is None:
            partial = (route, found)
    return partial


def _holds_routes(route: Any) -> bool:
    return isinstance(route, Mount | Host)


def _each(routes: Iterable[Any]) -> Iterable[Any]:
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        if included is None:
            yield route
        else:
            # FastAPI (0.165) keeps an included router as one route.
            for context in included():
                yield context.starlette_route or context
