"""An application on each framework that does one piece of work per request, within a server span."""

import itertools
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind, Tracer, set_span_in_context
from sanic import Request, Sanic, response

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver

from .traces import Traces

Work = Callable[[], Awaitable[int]]
"""What the handler does; returns the status."""

Serve = Callable[[Traces, DBConnect, Work], AbstractAsyncContextManager[str]]
"""Serves; yields the URL."""

_numbers = itertools.count()


@asynccontextmanager
async def on_aiohttp(traces: Traces, connection: DBConnect, work: Work) -> AsyncGenerator[str]:
    """Serve on aiohttp, where the context ends within the server span."""

    @web.middleware
    async def server_span(request: web.Request, handler: Handler) -> web.StreamResponse:
        with traces.tracer.start_as_current_span(f"{request.method} /work", kind=SpanKind.SERVER):
            return await handler(request)

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(status=await work())

    app = web.Application(middlewares=[server_span])
    app.router.add_get("/work", handle)
    setup_db(app, [connection], position=1, observers=[OpenTelemetryObserver(traces.provider)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/work"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def on_sanic(traces: Traces, connection: DBConnect, work: Work) -> AsyncGenerator[str]:
    """Serve on Sanic, where the context ends after response middleware, so after the server span of a middleware."""
    app: Any = Sanic(f"traced-{next(_numbers)}", configure_logging=False)
    # Sanic rewrites its own methods at start, and cannot do so twice in one process.
    app.config.TOUCHUP = False

    async def handle(_request: Request[Any, Any]) -> response.HTTPResponse:
        return response.empty(status=await work())

    app.add_route(handle, "/work")
    _add_server_span(app, traces.tracer)
    setup_db(app, [connection], observers=[OpenTelemetryObserver(traces.provider)])
    listener = socket.create_server(("127.0.0.1", 0))
    server: Any = await app.create_server(sock=listener, return_asyncio_server=True, access_log=False)
    await server.startup()
    await server.before_start()
    await server.after_start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/work"
    finally:
        await server.before_stop()
        server.close()
        app.set_serving(False)
        await server.after_stop()
        app.unregister_app(app)


def _add_server_span(app: Any, tracer: Tracer) -> None:
    async def begin(request: Request[Any, Any]) -> None:
        request.ctx.span = tracer.start_span(f"{request.method} /work", kind=SpanKind.SERVER)
        request.ctx.token = otel_context.attach(set_span_in_context(request.ctx.span))

    async def end(request: Request[Any, Any], _response: object) -> None:
        otel_context.detach(request.ctx.token)
        request.ctx.span.end()

    app.register_middleware(begin, "request")
    app.register_middleware(end, "response")
