"""The observer that serves the inspector."""

import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from context_async_sqlalchemy.observer import Observer, Resource, ResourceAnswer, ResourceRequest

from .access import Access, answer, gate, is_foreign, is_navigation, refusal
from .files import File, files_of_page, index
from .state import VERSION, Collector

DEFAULT_PATH = "/_db"
_CONTENT = "the inspector"


class Inspector(Observer):
    """Serves a page with the pools and sessions of this process.

    Args:
        path: the path of the page. ``state.json`` and the page's files are below it.
        access: a function of the request's headers, with names in lower case, that returns ``"all"``,
            ``"read-only"`` or ``"none"``. The default is a token, which is logged when the application starts.
        token: the token, in place of one that is made at the start.

    Raises:
        TypeError: ``access`` is not a function, or is asynchronous.
        ValueError: both ``access`` and ``token`` are given, or the path or the token has no possible value.

    """

    def __init__(
        self,
        path: str = DEFAULT_PATH,
        *,
        access: Callable[[Mapping[str, str]], Access | None] | None = None,
        token: str | None = None,
    ) -> None:
        if not path.startswith("/") or path.endswith("/"):
            raise ValueError(
                f"the path of the inspector begins with a slash and ends without one, like {DEFAULT_PATH!r}: "
                f"got {path!r}"
            )
        self._path = path
        self._gate = gate(access, token, path)
        self._collector = Collector()

    def resources(self) -> Iterable[Resource]:
        """Return the page, its files and the state."""
        yield self._resource("", self._page)
        yield self._resource("/", self._page)
        yield self._resource("/state.json", self._guarded(self._state))
        for name, file in files_of_page().items():
            yield self._resource(f"/{name}", self._guarded(_sender_of(file)))

    def _resource(self, below: str, answers: Callable[[ResourceRequest], Awaitable[ResourceAnswer]]) -> Resource:
        return Resource(self._path + below, answers, _CONTENT, "inspector_path")

    async def _page(self, request: ResourceRequest) -> ResourceAnswer:
        headers = request.headers
        if is_foreign(headers) and not is_navigation(headers):
            return refusal("Another site may not ask for this.")
        logged_in = self._gate.log_in(request)
        if logged_in is not None:
            return logged_in
        if self._gate.access_of(request) == "none":
            return refusal(self._gate.advice)
        return _send(index(request.path))

    def _guarded(
        self, answers: Callable[[Access], Awaitable[ResourceAnswer]]
    ) -> Callable[[ResourceRequest], Awaitable[ResourceAnswer]]:
        async def guarded(request: ResourceRequest) -> ResourceAnswer:
            if is_foreign(request.headers):
                return refusal("Another site may not ask for this.")
            access = self._gate.access_of(request)
            return refusal(self._gate.advice) if access == "none" else await answers(access)

        return guarded

    async def _state(self, access: Access) -> ResourceAnswer:
        state = {"version": VERSION, "now": time.time(), "access": access, "workers": [self._collector.worker()]}
        return answer(200, [("Content-Type", "application/json")], json.dumps(state).encode())


def _sender_of(file: File) -> Callable[[Access], Awaitable[ResourceAnswer]]:
    async def sender(_access: Access) -> ResourceAnswer:
        return _send(file)

    return sender


def _send(file: File) -> ResourceAnswer:
    return answer(200, [("Content-Type", file.content_type)], file.body)
