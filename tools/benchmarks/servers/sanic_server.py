"""The service that is measured, on Sanic: one application in a process, on uvloop, as Sanic runs it in production."""

import argparse
import asyncio
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sanic import HTTPResponse, Request, Sanic, response
from sanic.signals import Event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from context_async_sqlalchemy import DBConnect, db_session, setup_db
from tools.benchmarks.server import FIRST, POOL, SECOND, fill

AnyRequest = Request[Any, Any]


async def nothing(_request: AnyRequest) -> HTTPResponse:
    """Answer without the database."""
    return response.text("nothing")


async def cpu_time(_request: AnyRequest) -> HTTPResponse:
    """Answer with the CPU time of this process in nanoseconds."""
    return response.text(str(time.process_time_ns()))


def bare(_app: Any, _url: str) -> None:
    """Serve without the library."""


async def _empty_handler(**_: Any) -> None:
    pass


def empty_hooks(app: Any, _url: str) -> None:
    """Serve with a handler of the signal before the response, which does nothing."""
    app.signal(Event.HTTP_LIFECYCLE_RESPONSE)(_empty_handler)


def by_hand(app: Any, url: str) -> None:
    """Serve with the transaction written out in the handler."""
    maker = async_sessionmaker(create_async_engine(url, **POOL), expire_on_commit=False)

    async def two_selects(_request: AnyRequest) -> HTTPResponse:
        async with maker() as session, session.begin():
            first = (await session.execute(FIRST)).one()
            second = (await session.execute(SECOND)).one()
        return response.json([first.name, second.name])

    app.add_route(two_selects, "/two-selects")


def by_library(app: Any, url: str, **options: Any) -> None:
    """Serve through the library."""
    connection = DBConnect.from_url(url, name="main", **POOL)

    async def two_selects(_request: AnyRequest) -> HTTPResponse:
        session = await db_session(connection)
        first = (await session.execute(FIRST)).one()
        second = (await session.execute(SECOND)).one()
        return response.json([first.name, second.name])

    app.add_route(two_selects, "/two-selects")
    setup_db(app, [connection], **options)


APPLICATIONS: dict[str, Callable[[Any, str], None]] = {
    "bare": bare,
    "empty_hooks": empty_hooks,
    "by_hand": by_hand,
    "unobserved": partial(by_library, observers=()),
    "measured": by_library,
}


def main() -> None:
    """Serve one application until the process is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int)
    parser.add_argument("--application", choices=sorted(APPLICATIONS), required=True)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    url = os.environ["DATABASE_URL"]
    asyncio.run(fill(url))
    app: Any = Sanic("benchmark", configure_logging=False)
    # Sanic Extensions, where they are installed, would add to both sides.
    app.config.AUTO_EXTEND = False
    app.add_route(nothing, "/nothing")
    app.add_route(cpu_time, "/cpu-time")
    APPLICATIONS[arguments.application](app, url)
    listener = socket.create_server(("127.0.0.1", 0))

    async def say_ready(_app: Any) -> None:
        port = listener.getsockname()[1]
        print(f"control {port}\n{arguments.application} {port}\nready", flush=True)

    app.register_listener(say_ready, "after_server_start")
    app.run(sock=listener, single_process=True, access_log=False, motd=False)


if __name__ == "__main__":
    main()
