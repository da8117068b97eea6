"""What makes an observer one that can be scraped."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from .base import Observer


@runtime_checkable
class Exposition(Protocol):
    """An observer that can be scraped: ``setup_db`` serves it at ``metrics_path``."""

    def expose(self, accept: str, accept_encoding: str) -> tuple[Sequence[tuple[str, str]], bytes]:
        """Render what was measured.

        Args:
            accept: the request's Accept header, which chooses the format.
            accept_encoding: its Accept-Encoding header.

        Returns:
            The response's headers, and its body.

        """
        ...


def exposition_of(observers: Iterable[Observer]) -> Exposition | None:
    """Find the observer that can be scraped.

    Args:
        observers: those of one application.

    Returns:
        The observer, or None if none of them can be scraped.

    Raises:
        ValueError: several can, and there is one path.

    """
    expositions = [observer for observer in observers if isinstance(observer, Exposition)]
    if len(expositions) > 1:
        raise ValueError(
            f"several observers can be scraped, but there is one metrics_path: {expositions!r}. Give setup_db "
            "metrics_path=None and serve their expose() yourself"
        )
    return expositions[0] if expositions else None
