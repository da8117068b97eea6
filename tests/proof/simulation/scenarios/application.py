"""An aiohttp application whose handlers do the jobs, and what its clients are told."""

import asyncio
from collections.abc import Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from context_async_sqlalchemy import DBConnect, setup_db
from context_async_sqlalchemy_aiohttp import LIFECYCLE
from tests.proof.simulation.client import HOST, PORT, Answer, ask
from tests.proof.simulation.ledger import Unit
from tests.proof.simulation.network import Transport
from tests.proof.simulation.scenarios.jobs import JOBS, Job
from tests.proof.simulation.world import FINISH_TIMEOUT, World

Setup = Callable[[web.Application, Sequence[DBConnect], World], None]

_UNIT = "X-Unit"
_LONGEST = 0.04
_STEPS = 2_000


def set_up(app: web.Application, connections: Sequence[DBConnect], world: World) -> None:
    """Set the application up as the README says."""
    setup_db(app, connections, observers=[world.tally], metrics_path=None, finish_timeout=FINISH_TIMEOUT)


class Application:
    """An application in the simulated world.

    Args:
        world: the world.
        connection: what the handlers use.
        set_up: makes the units end; a positive control passes its own.

    """

    def __init__(self, world: World, connection: DBConnect, set_up: Setup = set_up) -> None:
        self._world = world
        self._connection = connection
        self._jobs: dict[str, tuple[Job, list[Unit]]] = {}
        # Texts, because the traceback of an error would keep the session.
        self._errors: dict[str, str] = {}
        self._is_stopping = False
        self.app = web.Application()
        self.app.router.add_post("/{way}/{name}", self._handle)
        set_up(self.app, [connection], world)
        self.app.middlewares.insert(0, _noting(self._errors))
        self._runner = web.AppRunner(self.app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, PORT).start()
        self._world.loop.network.listeners[HOST, PORT].written_by_server = self._look_at_status_line

    async def stop(self) -> None:
        """Shut down; requests in flight are given a second, then cancelled."""
        self._is_stopping = True
        await self._runner.cleanup()

    async def request(self, name: str, *, may_fail: bool) -> None:
        """Be a client that asks for a job, and perhaps hangs up; note what it is told."""
        world = self._world
        job = JOBS[world.choices.choose([*JOBS])]
        way = world.choices.choose(("plain", "redirect", "error", "stream"))
        units = job.open(world, name)
        self._jobs[name] = job, units
        patience = world.choices.choose((None, None, world.choices.number(_STEPS) * _LONGEST / _STEPS))
        answer = await ask(f"/{way}/{name}", patience)
        self._judge(answer, units[-1], way, job, failure=self._errors.get(name), may_fail=may_fail)

    def check_ended(self) -> None:
        """Check that no context is open."""
        if LIFECYCLE in self.app and (live := self.app[LIFECYCLE].live):
            self._world.violate("a context is left open", str(len(live)))

    def _judge(self, answer: Answer, unit: Unit, way: str, job: Job, *, failure: str | None, may_fail: bool) -> None:
        world = self._world
        may_fail = may_fail or self._is_stopping
        story = f"{unit.name} ({way}): {answer} {failure}"
        if answer.is_late:
            world.violate("a client waits in vain", story)
        elif answer.has_hung_up:
            # What it is told of a stream that is cut counts for nothing.
            unit.told = "nothing"
        elif answer.is_success:
            unit.told = "success"
            if not job.can_commit:
                world.violate("a unit that cannot be committed is told as a success", story)
        else:
            unit.told = "nothing"
            if answer.status is None and not self._is_stopping:
                world.violate("a client that stays gets no answer", story)
            elif way != "error" and job.can_commit and not may_fail:
                world.violate("a unit fails without a cause", story)
            elif answer.status == 400 and not job.ends_itself:
                unit.told = "failure"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        name, way = request.match_info["name"], request.match_info["way"]
        job, units = self._jobs[name]
        await job.run(self._world, self._connection, units)
        headers = {_UNIT: units[-1].name}
        if way == "redirect":
            raise web.HTTPFound("/elsewhere", headers=headers)
        if way == "error":
            return web.Response(status=400)
        if way == "stream":
            return await self._stream(request, headers)
        return web.Response(status=201, headers=headers)

    async def _stream(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in (b"one", b"two"):
            await response.write(piece)
            await asyncio.sleep(0.001)
        await response.write_eof()
        return response

    def _look_at_status_line(self, _server: Transport, data: bytes) -> None:
        if data.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3")):
            for line in data.decode(errors="replace").split("\r\n"):
                name, _, value = line.partition(": ")
                if name == _UNIT:
                    self._world.ledger.require_there(self._world.ledger.unit(value), "at the status line")


def _noting(errors: dict[str, str]) -> Middleware:
    """Make the outermost middleware, which notes the error of each request."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except BaseException as error:
            errors[request.match_info["name"]] = repr(error)
            raise

    return note
