"""The conformance cases on aiohttp."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler as AiohttpHandler
from aiohttp.typedefs import Middleware

from context_async_sqlalchemy import setup_db
from context_async_sqlalchemy_aiohttp import LIFECYCLE
from tests.conformance.driver import Driver, Exchange, Handler, Reply, Setup, Stream, WebSocket


class _AiohttpWebSocket(WebSocket):
    def __init__(self, websocket: web.WebSocketResponse) -> None:
        self._websocket = websocket

    async def receive(self) -> str | None:
        message = await self._websocket.receive()
        return str(message.data) if message.type is WSMsgType.TEXT else None

    async def send(self, message: str) -> None:
        await self._websocket.send_str(message)


class _AiohttpExchange(Exchange):
    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.prepared: web.StreamResponse | None = None

    async def stream(self, status: int = 200, *, compressed: bool = False) -> Stream:
        response = web.StreamResponse(status=status)
        if compressed:
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(self._request)
        self.prepared = response
        return response

    async def websocket(self) -> WebSocket:
        response = web.WebSocketResponse()
        await response.prepare(self._request)
        self.prepared = response
        return _AiohttpWebSocket(response)

    def answer_by_raising(self, status: int) -> BaseException:
        if status == web.HTTPFound.status_code:
            return web.HTTPFound("/elsewhere")
        answers = {cls.status_code: cls for cls in (web.HTTPCreated, web.HTTPConflict, web.HTTPNotFound)}
        return answers[status]()


def _as_aiohttp_handler(handler: Handler) -> AiohttpHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        exchange = _AiohttpExchange(request)
        reply = await handler(exchange)
        if isinstance(reply, Reply):
            return web.Response(status=reply.status, text=reply.body)
        assert exchange.prepared is not None
        return exchange.prepared

    return handle


@web.middleware
async def _answer_409_to_any_exception(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - an error mapper, as applications have them
        return web.Response(status=409, text=type(error).__name__)


@web.middleware
async def _clone_request(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
    # Middlewares for servers behind a proxy do this, for example XForwardedRelaxed of aiohttp-remotes.
    return await handler(request.clone(scheme="https", remote="192.0.2.1"))


@web.middleware
async def _return_raised_answers(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as answer:
        return web.Response(status=answer.status, headers=answer.headers, text=answer.text)


@web.middleware
async def _answer_500_to_any_exception(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception:  # noqa: BLE001 - an error mapper, as applications have them
        return web.Response(status=500, text="Internal Server Error")


@dataclass(frozen=True)
class Surroundings:
    """What stands around the handlers of a case on aiohttp.

    Args:
        outside: middlewares outside of the library's, the outermost first.
        inside: middlewares inside of it.
        prefix: of a sub-application that has the handlers, and is set up too.
        handler_cancellation: whether a handler is cancelled when its client hangs up. aiohttp's default is no.

    """

    outside: Sequence[Middleware] = ()
    inside: Sequence[Middleware] = ()
    prefix: str = ""
    handler_cancellation: bool = True


class AiohttpDriver(Driver):
    """aiohttp, served by an AppRunner."""

    framework = "aiohttp"
    SURROUNDINGS: ClassVar[Mapping[str, Surroundings]] = {
        "": Surroundings(),
        "clones": Surroundings(inside=[_clone_request], handler_cancellation=False),
        "sub-application-under-clones": Surroundings(inside=[_clone_request], prefix="/sub"),
        "error-mappers": Surroundings(outside=[_answer_500_to_any_exception], inside=[_return_raised_answers]),
    }

    def __init__(self, surroundings: str) -> None:
        super().__init__(surroundings)
        self._around = self.SURROUNDINGS[surroundings]
        self.cancels_handlers = self._around.handler_cancellation
        self._app: web.Application | None = None

    @property
    def prefix(self) -> str:
        return self._around.prefix

    @asynccontextmanager
    async def serving(self, setup: Setup) -> AsyncGenerator[int]:
        around = self._around
        app = self._app = web.Application()
        handlers = web.Application() if around.prefix else app
        handler = _as_aiohttp_handler(setup.handler)
        for path, other in setup.others.items():
            handlers.router.add_route("*", path, _as_aiohttp_handler(other))
        if setup.mounted:
            mounted = web.Application()
            mounted.router.add_route("*", "/", handler)
            setup_db(mounted, [])
            handlers.add_subapp("/mounted/", mounted)
        else:
            for path in ("/", "/websocket"):
                handlers.router.add_route("*", path, handler)
        if around.prefix:
            setup_db(handlers, [])
            app.add_subapp(around.prefix, handlers)
        setup_db(app, setup.connections, **setup.options)
        app.middlewares.extend(around.inside)
        if setup.map_errors == "inside":
            app.middlewares.append(_answer_409_to_any_exception)
        elif setup.map_errors == "outside":
            app.middlewares.insert(0, _answer_409_to_any_exception)
        app.middlewares[:0] = around.outside
        runner = web.AppRunner(
            app, handler_cancellation=around.handler_cancellation, shutdown_timeout=setup.grace, access_log=None
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    def route(self, path: str) -> str:
        return f"GET {self.prefix}{path}"

    def live_contexts(self) -> int:
        assert self._app is not None
        return len(self._app[LIFECYCLE].live)
