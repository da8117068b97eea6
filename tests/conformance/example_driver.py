"""The conformance cases on the example framework of ``examples/adapter``, whose adapter is a third party's."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from context_async_sqlalchemy.adapter_kit import Lifecycle
from examples.adapter.adapter import setup_db
from examples.adapter.framework import Answer, App, RaisedResponse, Request, Response, serving
from examples.adapter.framework import Handler as AppHandler
from tests.conformance.driver import Driver, Exchange, Handler, Reply, Setup, Stream, WebSocket

_METHODS = ("GET", "POST")


class _ExampleExchange(Exchange):
    def __init__(self, request: Request) -> None:
        self._request = request
        self.begun: Answer | None = None

    async def stream(self, status: int = 200, *, compressed: bool = False) -> Stream:  # noqa: ARG002 - it has none
        self.begun = stream = await self._request.stream(status)
        return stream

    async def websocket(self) -> WebSocket:
        self.begun = websocket = await self._request.websocket()
        return websocket

    def answer_by_raising(self, status: int) -> BaseException:
        return RaisedResponse(Response(status, headers={"location": "/elsewhere"}))


def _as_handler(handler: Handler) -> AppHandler:
    async def handle(request: Request) -> Answer:
        exchange = _ExampleExchange(request)
        reply = await handler(exchange)
        if isinstance(reply, Reply):
            return Response(reply.status, reply.body.encode())
        assert exchange.begun is not None
        return exchange.begun

    return handle


async def _answer_409_to_any_exception(request: Request, handler: AppHandler) -> Answer:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - an error mapper, as applications have them
        return Response(409, type(error).__name__.encode())


class ExampleDriver(Driver):
    """The example framework on its server."""

    framework = "example"
    SURROUNDINGS: ClassVar[Mapping[str, None]] = {"": None}

    def __init__(self, surroundings: str) -> None:
        super().__init__(surroundings)
        self._app: App | None = None

    @asynccontextmanager
    async def serving(self, setup: Setup) -> AsyncGenerator[int]:
        app = self._app = App()
        for path, other in setup.others.items():
            app.add_route(_METHODS, path, _as_handler(other))
        handler = _as_handler(setup.handler)
        if setup.mounted:
            mounted = App()
            mounted.add_route(_METHODS, "/", handler)
            setup_db(mounted, [])
            app.mount("/mounted", mounted)
        else:
            app.add_route(_METHODS, "/", handler)
            app.add_route(_METHODS, "/websocket", handler)
        setup_db(app, setup.connections, **setup.options)
        if setup.map_errors == "inside":
            app.middlewares.append(_answer_409_to_any_exception)
        elif setup.map_errors == "outside":
            app.middlewares.insert(0, _answer_409_to_any_exception)
        async with serving(app, grace=setup.grace) as port:
            yield port

    def route(self, path: str) -> str:
        return f"GET {path}"

    def live_contexts(self) -> int:
        assert self._app is not None
        lifecycle = self._app.state["context_async_sqlalchemy"]
        assert isinstance(lifecycle, Lifecycle)
        return len(lifecycle.live)
