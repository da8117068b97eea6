"""The conformance cases on Starlette and FastAPI, served by uvicorn and by hypercorn."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect

from context_async_sqlalchemy import setup_db
from tests.conformance.driver import Driver, Exchange, Handler, Reply, Setup, Stream, WebSocket
from tests.support.asgi_servers import under_hypercorn, under_uvicorn


class _AsgiStream(Stream):
    def __init__(self, send: Send) -> None:
        self._send = send

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class _AsgiWebSocket(WebSocket):
    def __init__(self, websocket: StarletteWebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | None:
        try:
            return await self._websocket.receive_text()
        except WebSocketDisconnect:
            return None

    async def send(self, message: str) -> None:
        await self._websocket.send_text(message)


class _AsgiExchange(Exchange):
    def __init__(self, send: Send | None, websocket: StarletteWebSocket | None = None) -> None:
        self._send = send
        self._websocket = websocket
        self.is_streaming = False

    async def stream(self, status: int = 200, *, compressed: bool = False) -> Stream:
        assert self._send is not None
        headers = [(b"content-encoding", b"gzip")] if compressed else []
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.is_streaming = True
        return _AsgiStream(self._send)

    async def websocket(self) -> WebSocket:
        assert self._websocket is not None
        await self._websocket.accept()
        return _AsgiWebSocket(self._websocket)

    def answer_by_raising(self, status: int) -> BaseException:
        return HTTPException(status, headers={"location": "/elsewhere"})


class _EndOfStream(Response):
    """What an endpoint returns that has streamed: the last piece."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _as_endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        exchange = _AsgiExchange(request._send)  # pyright: ignore[reportPrivateUsage] - a response is streamed by hand
        reply = await _cancelled_when_the_client_hangs_up(request, handler(exchange))
        if isinstance(reply, Reply):
            return PlainTextResponse(reply.body, reply.status)
        return _EndOfStream()

    return endpoint


async def _cancelled_when_the_client_hangs_up(request: Request, work: Awaitable[Reply | None]) -> Reply | None:
    """Do what ``StreamingResponse`` does: servers tell an ASGI application of a client that is gone, no more."""

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    listener = asyncio.create_task(listen())
    try:
        with anyio.CancelScope() as scope:
            return await work
    finally:
        listener.cancel()
        await asyncio.wait([listener])
    raise ClientDisconnect


def _as_websocket_endpoint(handler: Handler) -> Callable[[StarletteWebSocket], Awaitable[None]]:
    async def endpoint(websocket: StarletteWebSocket) -> None:
        await handler(_AsgiExchange(None, websocket))

    return endpoint


async def _answer_409_to_any_exception(request: Request, call_next: RequestResponseEndpoint) -> Response:
    try:
        return await call_next(request)
    except Exception as error:  # noqa: BLE001 - an error mapper, as applications have them
        return PlainTextResponse(type(error).__name__, 409)


class _Answers409ToAnyException:
    """The same as plain ASGI: after an exception a BaseHTTPMiddleware ends a stream as if it were complete."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_started = False

        async def watch(message: Any) -> None:
            nonlocal is_started
            is_started = is_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            if is_started:
                raise
            await PlainTextResponse(type(error).__name__, 409)(scope, receive, send)


class _AsgiDriver(Driver):
    def __init__(self) -> None:
        self._app: Starlette | None = None

    @abstractmethod
    def _make_app(self) -> Starlette:
        """Make an empty application."""

    @abstractmethod
    def _add_handler(self, app: Starlette, path: str, handler: Handler) -> None:
        """Serve the requests of a path by a handler."""

    @staticmethod
    @abstractmethod
    def serve(app: Starlette, grace: float) -> AbstractAsyncContextManager[int]:
        """Serve an application on a free port."""

    @asynccontextmanager
    async def serving(self, setup: Setup) -> AsyncGenerator[int]:
        app = self._app = self._make_app()
        app.router.add_websocket_route("/websocket", _as_websocket_endpoint(setup.handler))
        for path, other in setup.others.items():
            self._add_handler(app, path, other)
        if setup.mounted:
            mounted = self._make_app()
            self._add_handler(mounted, "/", setup.handler)
            setup_db(mounted, [])
            app.mount("/mounted", mounted)
        else:
            self._add_handler(app, "/", setup.handler)
        if setup.map_errors == "inside":
            app.add_middleware(BaseHTTPMiddleware, dispatch=_answer_409_to_any_exception)
        setup_db(app, setup.connections, **setup.options)
        if setup.map_errors == "outside":
            app.add_middleware(_Answers409ToAnyException)
        async with self.serve(app, setup.grace) as port:
            yield port

    def route(self, path: str) -> str:
        return f"GET {path}"

    def live_contexts(self) -> int:
        assert self._app is not None
        return len(self._app.state.db_lifecycle.live)


class _OnStarlette(_AsgiDriver):
    def _make_app(self) -> Starlette:
        return Starlette()

    def _add_handler(self, app: Starlette, path: str, handler: Handler) -> None:
        app.router.add_route(path, _as_endpoint(handler), methods=["GET", "POST"])


class _OnFastAPI(_AsgiDriver):
    def _make_app(self) -> FastAPI:
        return FastAPI()

    def _add_handler(self, app: Starlette, path: str, handler: Handler) -> None:
        assert isinstance(app, FastAPI)
        app.add_api_route(path, _as_endpoint(handler), methods=["GET", "POST"], response_model=None)


class StarletteUvicornDriver(_OnStarlette):
    """Starlette under uvicorn."""

    name = "starlette-uvicorn"
    serve = staticmethod(under_uvicorn)


class StarletteHypercornDriver(_OnStarlette):
    """Starlette under hypercorn."""

    name = "starlette-hypercorn"
    serve = staticmethod(under_hypercorn)


class FastAPIUvicornDriver(_OnFastAPI):
    """FastAPI under uvicorn."""

    name = "fastapi-uvicorn"
    serve = staticmethod(under_uvicorn)


class FastAPIHypercornDriver(_OnFastAPI):
    """FastAPI under hypercorn."""

    name = "fastapi-hypercorn"
    serve = staticmethod(under_hypercorn)
