"""The gauges of the pools. A scrape reads the pools' state; no event counts a gauge up or down."""

import asyncio
from collections.abc import Iterable
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from context_async_sqlalchemy.observer import ObservedPool, PoolPeaks, PoolReading

from .metrics import POOL_LABEL, SERVER_ADDRESS_LABEL, SERVER_PORT_LABEL, STATE_LABEL

REFRESH_SECONDS = 1.0
"""How old the gauges of another process may be in a scrape, in multiprocess mode."""

_COUNT = (
    "db_client_connection_count",
    "The number of connections that are currently in state described by the state label.",
)
_MAX = "db_client_connection_max", "The maximum number of open connections allowed."
_IDLE_MAX = "db_client_connection_idle_max", "The maximum number of idle open connections allowed."
_PENDING = (
    "db_client_connection_pending_requests",
    "The number of current pending requests for an open connection.",
)
# Of several processes the highest value counts, because a sum would hide one exhausted pool among idle ones.
_UTILIZATION = (
    "db_session_pool_utilization_ratio",
    "The share of the allowed connections that is in use; of several processes the highest.",
)
_USED_PEAK = (
    "db_session_pool_used_peak",
    "The most connections in use at once, since the last scrape at least; of several processes the highest.",
)
_PENDING_PEAK = (
    "db_session_pool_pending_peak",
    "The most pending requests at once, since the last scrape at least; of several processes the highest.",
)
_OF_POOL = _MAX, _IDLE_MAX, _PENDING, _UTILIZATION, _USED_PEAK, _PENDING_PEAK
# The server is not a label of the other gauges, so that their series go on when the host changes.
_SERVER = "db_session_server_connections", "The number of open connections, by the server that they lead to."
GAUGES = frozenset(name for name, _ in (_COUNT, *_OF_POOL, _SERVER))
"""The names of the gauges."""

_SERVER_LABELS = POOL_LABEL, SERVER_ADDRESS_LABEL, SERVER_PORT_LABEL


class PoolState(NamedTuple):
    """What the gauges show of a pool, or of several pools that share a name."""

    reading: PoolReading
    utilization: float | None
    """None without a limit. The fullest of several pools counts, because requests wait for that one."""
    peaks: PoolPeaks

    def with_other(self, other: "PoolState") -> "PoolState":
        """Return the state of the pools of both states."""
        utilizations = [each for each in (self.utilization, other.utilization) if each is not None]
        return PoolState(
            _together(self.reading, other.reading),
            max(utilizations, default=None),
            PoolPeaks(max(self.peaks.used, other.peaks.used), max(self.peaks.pending, other.peaks.pending)),
        )


_NOTHING = PoolState(PoolReading(used=0, idle=0, pending=0, maximum=0, idle_maximum=0), 0.0, PoolPeaks(0, 0))


class Pools:
    """The pools that are observed, and their state."""

    def __init__(self) -> None:
        self._pools: list[ObservedPool] = []

    def observe(self, pool: ObservedPool) -> None:
        """Read this pool from now on."""
        if pool not in self._pools:
            self._pools.append(pool)

    def forget(self, pool: ObservedPool) -> None:
        """Stop reading this pool."""
        if pool in self._pools:
            self._pools.remove(pool)

    def states(self) -> dict[str, PoolState]:
        """Return the state of all pools by name.

        Pools that share a name are added up, because a replaced engine drains while the new engine is in use.
        """
        states: dict[str, PoolState] = {}
        for pool in tuple(self._pools):
            reading = pool.read()
            utilization = reading.used / reading.maximum if reading.maximum else None
            other, state = states.get(pool.name), PoolState(reading, utilization, pool.peaks())
            states[pool.name] = state if other is None else state.with_other(other)
        return states

    def servers(self) -> dict[tuple[str, str, str], int]:
        """Return the number of open connections by pool name, server address and port.

        A pool name may have two servers for a while, after its host has changed.
        """
        servers: dict[tuple[str, str, str], int] = {}
        for pool in tuple(self._pools):
            if pool.server_address is not None:
                labels = pool.name, pool.server_address, str(pool.server_port or "")
                reading = pool.read()
                servers[labels] = servers.get(labels, 0) + reading.used + reading.idle
        return servers


class PoolCollector(Pools, Collector):
    """Reads the pools at each scrape.

    Args:
        registry: the registry that the collector registers itself in.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the families without samples, so that the registry can refuse a second metric of the same name."""
        return self._families({}, {})

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the state of the pools as metrics."""
        return self._families(self.states(), self.servers())

    def _families(
        self, states: dict[str, PoolState], servers: dict[tuple[str, str, str], int]
    ) -> Iterable[GaugeMetricFamily]:
        count = GaugeMetricFamily(*_COUNT, labels=(POOL_LABEL, STATE_LABEL))
        maximum, idle_maximum, pending, utilization, used_peak, pending_peak = of_pool = tuple(
            GaugeMetricFamily(*described, labels=(POOL_LABEL,)) for described in _OF_POOL
        )
        for name, (reading, share, peaks) in states.items():
            count.add_metric((name, "idle"), reading.idle)
            count.add_metric((name, "used"), reading.used)
            pending.add_metric((name,), reading.pending)
            if reading.maximum is not None:
                maximum.add_metric((name,), reading.maximum)
            if reading.idle_maximum is not None:
                idle_maximum.add_metric((name,), reading.idle_maximum)
            if share is not None:
                utilization.add_metric((name,), share)
            used_peak.add_metric((name,), peaks.used)
            pending_peak.add_metric((name,), peaks.pending)
        server = GaugeMetricFamily(*_SERVER, labels=_SERVER_LABELS)
        for labels, connections in servers.items():
            server.add_metric(labels, connections)
        return count, *of_pool, server


class PoolGauges(Pools):
    """Writes the state of this process's pools to gauges that the other processes can read.

    prometheus-client's multiprocess mode calls no collectors, and one process answers a scrape for all. So a process
    refreshes its gauges when it is scraped itself, and every ``REFRESH_SECONDS`` for scrapes of the other processes.

    Args:
        registry: the registry that the gauges are registered in.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(described: tuple[str, str], *labels: str, mode: Literal["livesum", "livemax"] = "livesum") -> Gauge:
            return Gauge(*described, labels, registry=registry, multiprocess_mode=mode)

        super().__init__()
        self._count = gauge(_COUNT, POOL_LABEL, STATE_LABEL)
        # The limits of the processes' pools add up, as their connections do.
        self._maximum, self._idle_maximum, self._pending = (
            gauge(described, POOL_LABEL) for described in (_MAX, _IDLE_MAX, _PENDING)
        )
        self._utilization, self._used_peak, self._pending_peak = (
            gauge(described, POOL_LABEL, mode="livemax") for described in (_UTILIZATION, _USED_PEAK, _PENDING_PEAK)
        )
        self._server = gauge(_SERVER, *_SERVER_LABELS)
        self._written: set[str] = set()
        self._written_servers: set[tuple[str, str, str]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def observe(self, pool: ObservedPool) -> None:
        """Read this pool from now on, every second."""
        super().observe(pool)
        self.keep_fresh()

    def forget(self, pool: ObservedPool) -> None:
        """Stop reading this pool, and set its gauges to zero."""
        super().forget(pool)
        self.refresh()

    def keep_fresh(self) -> None:
        """Start the refresh of the gauges every second, unless it runs already or no event loop is running."""
        if self._loop is not None and not self._loop.is_closed():
            return
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        else:
            self._refresh_again(self._loop)

    def _refresh_again(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pools:
            loop.call_later(REFRESH_SECONDS, self._refresh_again, loop)
        else:
            self._loop = None
        self.refresh()

    def refresh(self) -> None:
        """Set the gauges to the current state of the pools."""
        states = self.states()
        # prometheus-client 0.26 cannot remove series in this mode, so the gauges of a forgotten pool are set to zero.
        for name in self._written - states.keys():
            self._write(name, _NOTHING)
        for name, state in states.items():
            self._write(name, state)
        self._written.update(states)
        servers = self.servers()
        for labels in self._written_servers - servers.keys():
            self._server.labels(*labels).set(0)
        for labels, connections in servers.items():
            self._server.labels(*labels).set(connections)
        self._written_servers.update(servers)

    def _write(self, name: str, state: PoolState) -> None:
        reading, utilization, peaks = state
        self._count.labels(name, "idle").set(reading.idle)
        self._count.labels(name, "used").set(reading.used)
        self._pending.labels(name).set(reading.pending)
        self._used_peak.labels(name).set(peaks.used)
        self._pending_peak.labels(name).set(peaks.pending)
        if utilization is not None:
            self._utilization.labels(name).set(utilization)
        if reading.maximum is not None:
            self._maximum.labels(name).set(reading.maximum)
        if reading.idle_maximum is not None:
            self._idle_maximum.labels(name).set(reading.idle_maximum)


def _together(one: PoolReading, other: PoolReading) -> PoolReading:
    return PoolReading(
        one.used + other.used,
        one.idle + other.idle,
        one.pending + other.pending,
        _sum_of_limits(one.maximum, other.maximum),
        _sum_of_limits(one.idle_maximum, other.idle_maximum),
    )


def _sum_of_limits(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
