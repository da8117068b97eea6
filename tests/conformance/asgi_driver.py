"""The conformance cases on Starlette and FastAPI, served by uvicorn and by hypercorn."""

import asyncio
import sys
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware, DispatchFunction, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from context_async_sqlalchemy import db_context, setup_db
from tests.conformance.asgi_endpoints import as_endpoint, as_websocket_endpoint
from tests.conformance.driver import Driver, Handler, Setup
from tests.support.asgi_servers import Serve, under_hypercorn, under_uvicorn
from tests.support.pipelining import pipelining


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


async def _pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


async def _linger() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def _linger_around() -> AsyncGenerator[None]:
    await _linger()
    try:
        yield
    finally:
        await _linger()


_PIPELINED = b"GET /pipelined HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PIPELINED_ANSWER = b"the first of the pipeline"


async def _answer_within_an_open_context(scope: Scope, receive: Receive, send: Send) -> None:
    async with db_context():
        await PlainTextResponse(_PIPELINED_ANSWER)(scope, receive, send)
        # uvicorn has begun the next request by now.
        await asyncio.sleep(0.01)


async def _begin_pipeline(_request: Request) -> Any:
    return _answer_within_an_open_context


Mounting = Literal["", "application", "router", "included router"]


@dataclass(frozen=True)
class Surroundings:
    """What stands around the handlers of a case on Starlette and FastAPI.

    Args:
        serve: the server.
        outside: functions of a BaseHTTPMiddleware outside of the library's middleware.
        inside: functions of a BaseHTTPMiddleware inside of it.
        mounting: what the handlers belong to: the application itself, or something that it mounts or includes.
        template: the path at which that is mounted.
        prefix: a path that matches the template.
        background: every response has a background task.
        dependencies: for FastAPI, of every handler.
        pipelined: requests are the second ones of a pipeline, and the first have a context open at their end.

    """

    serve: Serve = under_uvicorn
    outside: Sequence[DispatchFunction] = ()
    inside: Sequence[DispatchFunction] = ()
    mounting: Mounting = ""
    template: str = ""
    prefix: str = ""
    background: bool = False
    dependencies: Sequence[Any] = ()
    pipelined: bool = False


_under_h11 = partial(under_uvicorn, http="h11")


class _AsgiDriver(Driver):
    SURROUNDINGS: ClassVar[Mapping[str, Surroundings]]

    def __init__(self, surroundings: str) -> None:
        super().__init__(surroundings)
        self._around = self.SURROUNDINGS[surroundings]
        # Hypercorn 0.18 awaits wait_closed(), which waits for connections there, before its graceful_timeout
        # (asyncio/run.py).
        self.stops_while_requests_run = self._around.serve is not under_hypercorn or sys.version_info < (3, 12)
        self._app: Starlette | None = None

    @property
    def prefix(self) -> str:
        return self._around.prefix

    @abstractmethod
    def _make_app(self) -> Starlette:
        """Make an empty application."""

    @abstractmethod
    def _make_router(self) -> Router:
        """Make an empty router."""

    @abstractmethod
    def _add_endpoint(self, router: Router, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        """Serve the requests of a path by an endpoint."""

    @asynccontextmanager
    async def serving(self, setup: Setup) -> AsyncGenerator[int]:
        app = self._app = self._make_app()
        self._add_handlers(app, setup)
        if setup.map_errors == "inside":
            app.add_middleware(BaseHTTPMiddleware, dispatch=_answer_409_to_any_exception)
        for dispatch in self._around.inside:
            app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
        setup_db(app, setup.connections, **setup.options)
        if setup.map_errors == "outside":
            app.add_middleware(_Answers409ToAnyException)
        for dispatch in self._around.outside:
            app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
        if not self._around.pipelined:
            async with self._around.serve(app, setup.grace) as port:
                yield port
            return
        async with pipelining(_PIPELINED, _PIPELINED_ANSWER) as relay:
            app.router.add_route("/pipelined", _begin_pipeline)
            async with self._around.serve(app, setup.grace) as relay.target:
                yield relay.port

    def _add_handlers(self, app: Starlette, setup: Setup) -> None:
        around = self._around
        inner = self._make_app() if around.mounting == "application" else app
        router = self._make_router() if "router" in around.mounting else inner.router
        router.add_websocket_route("/websocket", as_websocket_endpoint(setup.handler))
        for path, other in setup.others.items():
            self._add_endpoint(router, path, self._as_endpoint(other))
        if setup.mounted:
            mounted = self._make_app()
            self._add_endpoint(mounted.router, "/", self._as_endpoint(setup.handler))
            setup_db(mounted, [])
            # FastAPI does not include what a router mounts.
            app.mount(f"{around.template}/mounted", mounted)
        else:
            self._add_endpoint(router, "/", self._as_endpoint(setup.handler))
        if around.mounting == "included router":
            assert isinstance(app, FastAPI)
            assert isinstance(router, APIRouter)
            app.include_router(router, prefix=around.template)
        elif around.mounting:
            app.mount(around.template, inner if around.mounting == "application" else router)

    def _as_endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        return as_endpoint(handler, BackgroundTask(_linger) if self._around.background else None)

    def route(self, path: str) -> str:
        return f"GET {self._around.template.replace(':int', '')}{path}"

    def live_contexts(self) -> int:
        assert self._app is not None
        return len(self._app.state.db_lifecycle.live)


class StarletteDriver(_AsgiDriver):
    """Starlette under uvicorn and hypercorn."""

    framework = "starlette"
    SURROUNDINGS: ClassVar[Mapping[str, Surroundings]] = {
        "uvicorn": Surroundings(),
        "hypercorn": Surroundings(under_hypercorn),
        "base-http-middleware-inside-h11": Surroundings(_under_h11, inside=[_pass_on, _pass_on], background=True),
        "parametrised-mount-hypercorn": Surroundings(
            under_hypercorn, mounting="router", template="/shops/{shop:int}", prefix="/shops/007"
        ),
        "pipelined-h11": Surroundings(_under_h11, pipelined=True),
    }

    def _make_app(self) -> Starlette:
        return Starlette()

    def _make_router(self) -> Router:
        return Router()

    def _add_endpoint(self, router: Router, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        router.add_route(path, endpoint, methods=["GET", "POST"])


class FastAPIDriver(_AsgiDriver):
    """FastAPI under uvicorn and hypercorn."""

    framework = "fastapi"
    SURROUNDINGS: ClassVar[Mapping[str, Surroundings]] = {
        "uvicorn": Surroundings(),
        "hypercorn": Surroundings(under_hypercorn),
        "base-http-middleware-outside": Surroundings(outside=[_pass_on, _pass_on]),
        "mounted-application-h11": Surroundings(
            _under_h11, mounting="application", template="/shops/{shop:int}", prefix="/shops/007"
        ),
        "yield-dependencies-h11": Surroundings(
            _under_h11,
            mounting="included router",
            template="/shops/{shop}",
            prefix="/shops/007",
            background=True,
            dependencies=[Depends(_linger_around)],
        ),
        "pipelined": Surroundings(pipelined=True),
    }

    def _make_app(self) -> FastAPI:
        return FastAPI(dependencies=self._around.dependencies)

    def _make_router(self) -> Router:
        return APIRouter()

    def _add_endpoint(self, router: Router, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        assert isinstance(router, APIRouter)
        router.add_api_route(path, endpoint, methods=["GET", "POST"], response_model=None)
