"""The conformance cases on Sanic, on its own server and on an ASGI server."""

import asyncio
import itertools
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from sanic import Blueprint, Request, Sanic, SanicException, Websocket, response
from sanic.exceptions import NotFound
from sqlalchemy import text

from context_async_sqlalchemy import ContextClosedError, DBConnect, db_session, setup_db
from tests.adapters.sanic.serving import start, stop
from tests.conformance.driver import Driver, Exchange, Handler, Reply, Setup, Stream, WebSocket
from tests.support.asgi_servers import under_uvicorn

AnyRequest = Request[Any, Any]

_numbers = itertools.count()


class _SanicStream(Stream):
    def __init__(self, sent: Any) -> None:
        self._sent = sent

    async def write(self, data: bytes) -> None:
        await self._sent.send(data)


class _SanicWebSocket(WebSocket):
    def __init__(self, websocket: Websocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | None:
        message = await self._websocket.recv()
        return None if message is None else str(message)

    async def send(self, message: str) -> None:
        await self._websocket.send(message)


class _SanicExchange(Exchange):
    def __init__(self, request: AnyRequest, websocket: Websocket | None = None) -> None:
        self._request = request
        self._websocket = websocket

    async def stream(self, status: int = 200, *, compressed: bool = False) -> Stream:  # noqa: ARG002 - Sanic has none
        request: Any = self._request
        sent = await request.respond(status=status)
        # Sanic sends the headers with the first piece, even an empty one.
        await sent.send(b"")
        return _SanicStream(sent)

    async def websocket(self) -> WebSocket:
        assert self._websocket is not None
        return _SanicWebSocket(self._websocket)

    def answer_by_raising(self, status: int) -> BaseException:
        if status == 404:
            return NotFound()
        return SanicException("answered by raising", status_code=status)


def _as_sanic_handler(handler: Handler) -> Callable[..., Awaitable[response.HTTPResponse | None]]:
    async def handle(request: AnyRequest, **_parameters: str) -> response.HTTPResponse | None:
        reply = await handler(_SanicExchange(request))
        return response.text(reply.body, status=reply.status) if isinstance(reply, Reply) else None

    return handle


def _sanic_path(path: str) -> str:
    return path.replace("{", "<").replace("}", ">")


@dataclass(frozen=True)
class Surroundings:
    """What stands around the handlers of a case on Sanic.

    Args:
        is_extended: with Sanic Extensions, which Sanic applies to every application where they are installed.
        on_asgi: served by uvicorn in place of Sanic's own server.
        in_blueprints: the handlers belong to a blueprint with a version, in a group.
        answers_early: the handler of the case is a request middleware, and the route's own handler is not reached.
        error_handler_reads: an error handler uses the session before it answers as Sanic does.
        has_tasks: each request starts a background task of the application.

    """

    is_extended: bool = False
    on_asgi: bool = False
    in_blueprints: bool = False
    answers_early: bool = False
    error_handler_reads: bool = False
    has_tasks: bool = False


class SanicDriver(Driver):
    """Sanic on the loop of the test."""

    framework = "sanic"
    SURROUNDINGS: ClassVar[Mapping[str, Surroundings]] = {
        "": Surroundings(),
        "ext": Surroundings(is_extended=True),
        "blueprints": Surroundings(in_blueprints=True, has_tasks=True),
        "early-answers": Surroundings(answers_early=True, error_handler_reads=True),
        "asgi": Surroundings(on_asgi=True),
        "asgi-blueprints": Surroundings(on_asgi=True, in_blueprints=True, has_tasks=True, error_handler_reads=True),
    }
    handler_accepts_websockets = False
    # Sanic has error handlers in place of mapping middlewares, and they see whatever is raised.
    maps_failing_commits_inside = True
    may_answer_again = False

    def __init__(self, surroundings: str) -> None:
        super().__init__(surroundings)
        self._around = self.SURROUNDINGS[surroundings]
        self._app: Sanic[Any, Any] | None = None

    @property
    def prefix(self) -> str:
        return "/v2/api/shop" if self._around.in_blueprints else ""

    @asynccontextmanager
    async def serving(self, setup: Setup) -> AsyncGenerator[int]:
        app: Any = Sanic(f"conformance-{next(_numbers)}", configure_logging=False)
        self._app = app
        app.config.GRACEFUL_SHUTDOWN_TIMEOUT = setup.grace
        app.config.ACCESS_LOG = False
        # Sanic rewrites its own methods at start, and cannot do so twice in one process.
        app.config.TOUCHUP = False
        app.config.AUTO_EXTEND = self._around.is_extended
        self._add_handlers(app, setup)
        if setup.map_errors is not None:

            async def answer_409(_request: AnyRequest, error: Exception) -> response.HTTPResponse:
                return response.text(type(error).__name__, status=409)

            app.error_handler.add(Exception, answer_409)
        elif self._around.error_handler_reads and setup.connections:
            app.error_handler.add(Exception, _read_and_answer(setup.connections[0]))
        if self._around.has_tasks:
            app.on_request(_start_task)
        setup_db(app, setup.connections, **setup.options)
        serve = under_uvicorn if self._around.on_asgi else _on_own_server
        try:
            async with serve(app, setup.grace) as port:
                yield port
        finally:
            app.unregister_app(app)

    def _add_handlers(self, app: Any, setup: Setup) -> None:
        routes: Any = Blueprint("shop", url_prefix="/shop", version=2) if self._around.in_blueprints else app
        path = "/mounted/" if setup.mounted else "/"
        answer = _as_sanic_handler(setup.handler)

        async def handle_websocket(request: AnyRequest, websocket: Websocket) -> None:
            await setup.handler(_SanicExchange(request, websocket))

        async def answer_early(request: AnyRequest) -> response.HTTPResponse | None:
            return await answer(request) if request.path == path else None

        async def answer_nothing(_request: AnyRequest) -> None:
            """Do nothing: the middleware has answered."""

        if self._around.answers_early:
            app.on_request(answer_early)
        routes.add_route(
            answer_nothing if self._around.answers_early else answer, path, name="case", methods=["GET", "POST"]
        )
        for number, (other_path, other) in enumerate(setup.others.items()):
            routes.add_route(_as_sanic_handler(other), _sanic_path(other_path), name=f"other{number}")
        routes.add_websocket_route(handle_websocket, "/websocket")
        if routes is not app:
            app.blueprint(Blueprint.group(routes, url_prefix="/api"))

    def route(self, path: str) -> str:
        # Sanic's own notation, which names the type too. It takes a last slash off the path in a blueprint.
        return f"GET {self.prefix}{_sanic_path(path).replace('>', ':str>')}".removesuffix("/" if self.prefix else "")

    def live_contexts(self) -> int:
        assert self._app is not None
        return len(self._app.ctx.db_lifecycle.live)


@asynccontextmanager
async def _on_own_server(app: Any, grace: float) -> AsyncGenerator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await start(app, listener)
        try:
            yield int(listener.getsockname()[1])
        finally:
            await stop(app, server, grace)


async def _start_task(request: AnyRequest) -> None:
    # The function and not its coroutine, which Sanic would keep and never await if the application is being stopped.
    request.app.add_task(_linger)


async def _linger(_app: Any) -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def _read_and_answer(connection: DBConnect) -> Callable[[AnyRequest, Exception], Awaitable[response.HTTPResponse]]:
    async def read_and_answer(request: AnyRequest, error: Exception) -> response.HTTPResponse:
        # After a failed commit the context has ended.
        with suppress(ContextClosedError):
            session = await db_session(connection)
            await session.execute(text("SELECT 1"))
        answer: response.HTTPResponse = request.app.error_handler.default(request, error)
        return answer

    return read_and_answer
