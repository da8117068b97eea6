"""The parts that every adapter's ``setup_db`` shares."""

from collections.abc import Iterable


def called_twice() -> RuntimeError:
    """Return the error for a second ``setup_db`` of one application."""
    return RuntimeError("setup_db was called twice for one application: call it once, with all connections")


def position_inside_tracing(middlewares: Iterable[object]) -> int:
    """Return the default position of the middleware: outermost, but inside leading OpenTelemetry middlewares.

    The commit is part of the request's span there.

    Args:
        middlewares: the application's functions or classes, outermost first.

    """
    position = 0
    for middleware in middlewares:
        if not getattr(middleware, "__module__", "").startswith("opentelemetry."):
            break
        position += 1
    return position
