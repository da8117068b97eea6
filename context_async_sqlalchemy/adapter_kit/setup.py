"""The parts that every adapter's ``setup_db`` shares."""

import difflib
from collections.abc import Iterable, Sequence

from context_async_sqlalchemy._redaction import kind_of


def called_twice() -> RuntimeError:
    """Return the error for a second ``setup_db`` of one application."""
    return RuntimeError("setup_db was called twice for one application: call it once, with all connections")


def unknown_option(name: str, shared: Iterable[str], framework: str = "", own: Iterable[str] = ()) -> TypeError:
    """Return the error for an option that does not exist. It suggests the option that is spelled alike.

    Args:
        name: the name of the option.
        shared: the options of every framework.
        framework: the framework, if it is known.
        own: the options of that framework alone.

    """
    shared, own = sorted(shared), sorted(own)
    near = difflib.get_close_matches(name, own + shared, n=1)
    return TypeError(
        f"setup_db has no option {name!r}"
        + (f" for {framework}" if framework else "")
        + (f": did you mean {near[0]!r}?" if near else ".")
        + (f" The options of {framework}: {', '.join(own) or 'none'}; of" if framework else " The options of")
        + f" every framework: {', '.join(shared)}"
    )


def position_inside_tracing(middlewares: Iterable[object]) -> int:
    """Return the default position of the middleware: outermost, but inside leading OpenTelemetry middlewares.

    The commit is part of the request's span there.

    Args:
        middlewares: the application's functions or classes, outermost first.

    """
    position = 0
    for middleware in middlewares:
        # A function that `exec` has made may have no module.
        if not (getattr(middleware, "__module__", None) or "").startswith("opentelemetry."):
            break
        position += 1
    return position


def middleware_position(position: int | None, middlewares: Sequence[object]) -> int:
    """Return the index of the library's middleware, from the option ``position``.

    Args:
        position: the option. None means ``position_inside_tracing``.
        middlewares: the application's functions or classes, outermost first.

    Raises:
        TypeError: the option is not a number.
        ValueError: the application has no such index.

    """
    if position is None:
        return position_inside_tracing(middlewares)
    _require_number(position)
    if not 0 <= position <= len(middlewares):
        raise ValueError(
            f"position={position} is impossible: the application has {len(middlewares)} middleware(s) so far, so "
            f"position is between 0 (outermost) and {len(middlewares)} (innermost)"
        )
    return position


def _require_number(position: object) -> None:
    if not isinstance(position, int) or isinstance(position, bool):
        raise TypeError(f"position is the index of the middleware, and 0 is the outermost: got {kind_of(position)}")
