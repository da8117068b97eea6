"""What an observer serves over HTTP: a path, and the function that answers a request for it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ResourceAnswer(NamedTuple):
    """The answer to a request for a resource.

    Attributes:
        status: the status.
        headers: the headers, without a Content-Length.
        body: the body. The server leaves it out if the method is HEAD.

    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """A GET or HEAD for a resource.

    Attributes:
        path: the path that the client has asked for, decoded. It begins with the prefix of the application, if the
            application is mounted below one.
        query: the query string, still encoded and without the question mark.
        headers: the headers, with names in lower case.

    """

    path: str
    query: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, path: str, query: str, headers: Iterable[tuple[str, str]]) -> "ResourceRequest":
        """Return a request from the parts that every framework has.

        Args:
            path: see the class.
            query: see the class.
            headers: the headers. A name may come several times, and in any case.

        """
        by_name: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            # HTTP/2 may divide the cookies into several headers (RFC 9113, 8.2.3).
            separator = "; " if key == "cookie" else ", "
            by_name[key] = f"{by_name[key]}{separator}{value}" if key in by_name else value
        return cls(path, query, by_name)


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that the application serves for an observer, by GET and HEAD.

    Attributes:
        path: the path of the route. It begins with a slash, and has no variable part.
        answer: returns the answer to a request. It is called in the event loop, so it must not block.
        content: what the resource shows, in a word or two for error messages, for example ``metrics``.
        option: the option of ``setup_db`` that chose the path, or the argument of the observer, for error messages.

    """

    path: str
    answer: Callable[[ResourceRequest], Awaitable[ResourceAnswer]]
    content: str
    option: str
