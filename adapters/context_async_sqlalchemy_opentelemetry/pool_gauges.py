"""The state of the pools as OpenTelemetry metrics. Callbacks read it; an exporter may call them in another thread."""

from collections.abc import Callable, Collection, Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.util.types import AttributeValue

from context_async_sqlalchemy.observer import ObservedPool, PoolReading

from .attributes import POOL_NAME, POOL_STATE, server_attributes

Callback = Callable[[CallbackOptions], Iterable[Observation]]
Values = Iterator[tuple[float | None, dict[str, AttributeValue]]]
"""The values of one pool, each with attributes beside the pool's name. None is left out."""


def register_pool_gauges(meter: Meter, pools: Collection[ObservedPool]) -> None:
    """Register the callbacks.

    Args:
        meter: the meter that creates the instruments.
        pools: the pools that are read. The caller adds and removes pools.

    """

    def each(values: Callable[[ObservedPool], Values]) -> list[Callback]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            for pool in tuple(pools):
                for value, attributes in values(pool):
                    if value is not None:
                        yield Observation(value, {POOL_NAME: pool.name, **attributes})

        return [observe]

    def read(value: Callable[[PoolReading], float | None]) -> list[Callback]:
        def values(pool: ObservedPool) -> Values:
            yield value(pool.read()), {}

        return each(values)

    name = "db.client.connection."
    gauge = meter.create_observable_up_down_counter
    gauge(name + "count", each(_counts), "{connection}", "Connections by their state.")
    gauge(name + "pending_requests", read(lambda now: now.pending), "{request}", "Waits for a connection, now.")
    gauge(name + "max", read(lambda now: now.maximum), "{connection}", "The most connections allowed.")
    gauge(name + "idle.max", read(lambda now: now.idle_maximum), "{connection}", "The most idle ones allowed.")
    gauge(
        "db.session.server_connections", each(_servers), "{connection}", "Open connections by the server they lead to."
    )

    name = "db.session.pool."
    # Of another kind, because the values of several processes do not add up.
    highest = meter.create_observable_gauge
    highest(name + "utilization", read(_utilization), "1", "Share of the allowed connections that is in use.")
    highest(name + "used_peak", each(_used_peak), "{connection}", "Most connections in use at once in the last minute.")
    highest(name + "pending_peak", each(_pending_peak), "{request}", "Most waits at once in the last minute.")


def _counts(pool: ObservedPool) -> Values:
    reading = pool.read()
    yield reading.used, {POOL_STATE: "used"}
    yield reading.idle, {POOL_STATE: "idle"}


def _servers(pool: ObservedPool) -> Values:
    if attributes := server_attributes(pool):
        reading = pool.read()
        yield reading.used + reading.idle, {**attributes}


def _utilization(reading: PoolReading) -> float | None:
    return reading.used / reading.maximum if reading.maximum else None


def _used_peak(pool: ObservedPool) -> Values:
    yield pool.peaks().used, {}


def _pending_peak(pool: ObservedPool) -> Values:
    yield pool.peaks().pending, {}
