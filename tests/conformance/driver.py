"""What the conformance cases need of a framework: they are written once, against this."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from context_async_sqlalchemy import DBConnect


@dataclass(frozen=True)
class Reply:
    """An ordinary response, returned by a handler."""

    status: int = 200
    body: str = ""


class Stream(Protocol):
    """A streamed response whose headers are out."""

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        ...


class WebSocket(Protocol):
    """An accepted websocket, on the server's side."""

    async def receive(self) -> str | None:
        """Return the next message, or None when the client has closed."""
        ...

    async def send(self, message: str) -> None:
        """Send a message."""
        ...


class Exchange(Protocol):
    """One request, as a handler of the cases sees it on every framework."""

    async def stream(self, status: int = 200, *, compressed: bool = False) -> Stream:
        """Send the headers of a streamed response."""
        ...

    async def websocket(self) -> WebSocket:
        """Accept a websocket."""
        ...

    def answer_by_raising(self, status: int) -> BaseException:
        """Make the exception by which the framework answers with a status; a redirect goes to /elsewhere."""
        ...


Handler = Callable[[Exchange], Awaitable[Reply | None]]
"""Returns a Reply, or None after a stream or a websocket."""

MapErrors = Literal["inside", "outside"]


@dataclass
class Setup:
    """How a case wants its application made."""

    handler: Handler
    connections: Sequence[DBConnect]
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    map_errors: MapErrors | None = None
    """Where a middleware stands that answers 409 to any exception: inside or outside of the library's."""
    others: Mapping[str, Handler] = field(default_factory=dict[str, Handler])
    """More handlers by their paths; ``{id}`` in a path stands for any segment."""
    mounted: bool = False
    """Serve the handler by a sub-application that is set up too."""
    grace: float = 5.0
    """Seconds that requests in flight get at a shutdown."""


class Driver(ABC):
    """One framework under test, within some surroundings.

    Args:
        surroundings: a name of ``SURROUNDINGS``.

    """

    framework: ClassVar[str]
    SURROUNDINGS: ClassVar[Mapping[str, Any]]
    """What may stand around the handlers of an application: servers, middlewares, mounts. The key is a short name."""
    handler_accepts_websockets = True
    """Whether a handler runs before the handshake of a websocket; else the framework has shaken hands by then."""
    maps_failing_commits_inside = False
    """Whether an error mapper that stands inside sees a commit that fails."""
    cancels_handlers = True
    """Whether a handler is cancelled when its client hangs up."""
    may_answer_again = True
    """Whether a handler may begin a second response when the headers of the first were refused."""
    stops_while_requests_run = True
    """Whether the server stops after its grace though a request is in flight."""

    def __init__(self, surroundings: str) -> None:
        self.name = f"{self.framework}-{surroundings}" if surroundings else self.framework

    @property
    def prefix(self) -> str:
        """The beginning of the paths of all handlers, where the surroundings mount them."""
        return ""

    @abstractmethod
    def serving(self, setup: Setup) -> AbstractAsyncContextManager[int]:
        """Serve on a free port of 127.0.0.1, cancelling a handler when its client hangs up; yields the port."""

    @abstractmethod
    def route(self, path: str) -> str:
        """Name the route of a path of ``others`` as metrics do, with the method GET."""

    @abstractmethod
    def live_contexts(self) -> int:
        """Count the contexts with sessions that have not ended, of the application being served."""


ServingPort = AsyncGenerator[int]
