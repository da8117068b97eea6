"""The service on aiohttp in a server span: by hand, with OpenTelemetry's instrumentation of SQLAlchemy and without."""

from collections.abc import Callable
from functools import partial

from aiohttp import web
from opentelemetry.instrumentation.sqlalchemy import (  # pyright: ignore[reportMissingTypeStubs] - it has none
    SQLAlchemyInstrumentor,
)
from sqlalchemy.ext.asyncio import create_async_engine

from tools.benchmarks.servers import on_aiohttp
from tools.benchmarks.servers.common import POOL, chosen
from tools.benchmarks.servers.tracing import server_span, tracer_provider


def _in_server_span(url: str, *, is_instrumented: bool) -> web.Application:
    provider = tracer_provider(is_sampled=True)
    engine = create_async_engine(url, **POOL)
    if is_instrumented:
        SQLAlchemyInstrumentor().instrument(engine=engine.sync_engine, tracer_provider=provider)
    return on_aiohttp.by_hand(engine, server_span(provider))


APPLICATIONS: dict[str, Callable[[str], web.Application]] = {
    "older_in_server_span": partial(_in_server_span, is_instrumented=False),
    "instrumented": partial(_in_server_span, is_instrumented=True),
}


def main() -> None:
    """Serve one application until the input ends."""
    name, url = chosen(__doc__, APPLICATIONS)
    on_aiohttp.serve(name, partial(APPLICATIONS[name], url))


if __name__ == "__main__":
    main()
