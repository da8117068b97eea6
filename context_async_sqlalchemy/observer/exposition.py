"""The interface of an observer that can be scraped."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from .base import Observer


@runtime_checkable
class Exposition(Protocol):
    """An observer that can be scraped. ``setup_db`` serves it at ``metrics_path``."""

    def expose(self, accept: str, accept_encoding: str) -> tuple[Sequence[tuple[str, str]], bytes]:
        """Return headers and body of a scrape. Adapters call this method in a thread.

        Args:
            accept: the request's Accept header, which chooses the format.
            accept_encoding: the request's Accept-Encoding header.

        Returns:
            The response's headers and body.

        """
        ...


def exposition_of(observers: Iterable[Observer]) -> Exposition | None:
    """Return the observer that can be scraped, or None.

    Args:
        observers: the observers of one application.

    Raises:
        ValueError: several observers can be scraped, but an application has only one ``metrics_path``.

    """
    expositions = [observer for observer in observers if isinstance(observer, Exposition)]
    if len(expositions) > 1:
        shown = ", ".join(type(exposition).__qualname__ for exposition in expositions)
        raise ValueError(
            f"several observers can be scraped, but there is one metrics_path: {shown}. Give setup_db "
            "metrics_path=None and serve their expose() yourself"
        )
    return expositions[0] if expositions else None
