"""The shop, first in good order and then in trouble, with what Prometheus and the traces need to show it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanKind

from context_async_sqlalchemy_inspector import Inspector
from context_async_sqlalchemy_opentelemetry import default_observer as opentelemetry_observer
from context_async_sqlalchemy_prometheus import default_observer as prometheus_observer
from examples.shop import aiohttp_app
from examples.shop.domain import Shop
from examples.shop.load import PAY_EARLY, PAY_LATE, Phase
from examples.shop.payment import PaymentProvider
from examples.shop.pool import pool_of
from examples.shop.startup import HOST, bind, postgres, shop_database
from examples.shop.tracing import traces

Spans = list[ReadableSpan]
_TOKEN = "of-the-pictures"  # noqa: S105 - of a shop that is open for the pictures only


@dataclass(frozen=True)
class Seen:
    """What there is to draw.

    Args:
        began: Unix time.
        ended: Unix time; the trouble goes on until then.
        late: the spans of an order that held its connection while it was paid.
        early: the spans of one that gave it back before.

    """

    began: float
    ended: float
    late: Spans
    early: Spans


class _Requests(SpanProcessor):
    """Keeps the spans of all requests."""

    def __init__(self) -> None:
        self._of_trace: defaultdict[int, Spans] = defaultdict(list)
        self._of_request: defaultdict[str, list[Spans]] = defaultdict(list)

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; that of a request is the last of its trace."""
        trace_id = (span.get_span_context() or INVALID_SPAN_CONTEXT).trace_id
        self._of_trace[trace_id].append(span)
        if span.kind is SpanKind.SERVER:
            self._of_request[span.name].append(self._of_trace.pop(trace_id))

    def typical(self, request: str) -> Spans:
        """Give the spans of the request that took as long as the middle one of its kind."""
        found = sorted(
            self._of_request[request], key=lambda spans: (spans[-1].end_time or 0) - (spans[-1].start_time or 0)
        )
        return found[len(found) // 2]


async def happen(port: int, seconds: float, look: Callable[[str], Coroutine[None, None, None]]) -> Seen:
    """Open the shop, and let orders be paid in the good way for a while, then in the bad one.

    Args:
        port: where Prometheus looks for it.
        seconds: how long either takes.
        look: looks at the inspector, whose URL it gets, during the trouble.

    Raises:
        CannotStartError: there is no database, or the port is taken.

    """
    with bind(HOST, port) as listener, postgres() as database_url:
        async with shop_database(database_url) as connection:
            # A pool that is just large enough: the picture is of a queue, not of a collapse.
            shop = Shop(connection, PaymentProvider(latency=0.09))
            observers = [prometheus_observer(), opentelemetry_observer(), Inspector(token=_TOKEN)]
            with traces(PAY_EARLY):
                requests = _Requests()
                provider = trace.get_tracer_provider()
                assert isinstance(provider, TracerProvider)  # noqa: S101 - `traces` has set it
                provider.add_span_processor(requests)
                async with aiohttp_app.serving(shop, listener, observers):
                    pool, began = pool_of(connection), time.time()
                    for without in (PAY_LATE, PAY_EARLY):
                        phase = Phase("", without=frozenset({without}), seconds=seconds, pool=pool)
                        async with asyncio.TaskGroup() as tasks:
                            if without is PAY_EARLY:
                                tasks.create_task(look(f"http://{HOST}:{port}/_db?token={_TOKEN}"))
                            await phase.run(f"http://{HOST}:{port}", asyncio.Event())
                    return Seen(began, time.time(), requests.typical(PAY_LATE), requests.typical(PAY_EARLY))
