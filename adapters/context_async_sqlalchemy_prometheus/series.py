"""Counters and histograms: what they are asked for, and those of a single process, which are plain numbers.

prometheus-client keeps each bucket in an object with a lock of its own, so that it may as well be a place in a file,
which several processes need (see :mod:`context_async_sqlalchemy_prometheus.multiprocess`). One process needs numbers,
and one lock for all that happens at once.

Several threads may measure, with an event loop in each, while another one renders a scrape; ``counts[index] += 1`` is
several steps, also under the GIL. So whoever calls ``labels``, ``inc`` or ``observe`` holds the lock that the families
were made with, and a scrape holds it while it reads a histogram. It is reentrant: the garbage collector may run at any
of these steps, and where it finds a connection that nobody gave back, the observer is told in the same thread.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from prometheus_client import Counter, utils
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Exemplar

from .exemplars import Trace

Lock = AbstractContextManager[Any]
Labels = tuple[str, ...]
SeriesT_co = TypeVar("SeriesT_co", covariant=True)


class CounterSeries(Protocol):
    """What counts the events of one set of labels: prometheus-client's counter is one."""

    def inc(self, amount: float = 1) -> None:
        """Count this many more."""
        ...


class HistogramSeries(Protocol):
    """What counts the durations of one set of labels: prometheus-client's histogram is one."""

    def observe(self, amount: float, exemplar: Trace | None = None) -> None:
        """Count the duration, in seconds, and keep the trace in which it was measured."""
        ...


class Family(Protocol[SeriesT_co]):
    """All series of a metric."""

    def labels(self, *labelvalues: str) -> SeriesT_co:
        """Find the series of these values of the labels, or make it; it begins at zero."""
        ...


class CounterOfProcess:
    """A counter that is a number."""

    __slots__ = ("created", "value")

    def __init__(self) -> None:
        self.created = time.time()
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Count this many more."""
        self.value += amount


class HistogramOfProcess:
    """A histogram that is a list of numbers.

    Args:
        bounds: of the buckets, in seconds and in order, without the infinite one.

    """

    __slots__ = ("bounds", "counts", "created", "exemplars", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.created = time.time()
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone, not of those below it."""
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] = [None] * len(self.counts)

    def observe(self, amount: float, exemplar: Trace | None = None) -> None:
        """Count the duration, in seconds, and keep the trace in which it was measured."""
        bounds = self.bounds
        # Almost all waits are in the first bucket.
        index = bisect_left(bounds, amount) if amount > bounds[0] else 0
        self.counts[index] += 1
        self.sum += amount
        if exemplar is not None:
            self.exemplars[index] = Exemplar(exemplar, amount, time.time())


class CountersOfProcess(Collector):
    """A metric whose series are counters of this process.

    Args:
        name: the metric's, without ``_total``.
        documentation: its help text.
        labels: their names.
        registry: where it is registered.
        lock: see the module.

    """

    def __init__(
        self, name: str, documentation: str, labels: Labels, *, registry: CollectorRegistry, lock: Lock
    ) -> None:
        self._described = name, documentation
        self._labels = labels
        self._lock = lock
        self._series: dict[Labels, CounterOfProcess] = {}
        registry.register(self)

    def labels(self, *labelvalues: str) -> CounterOfProcess:
        """Find the series of these values of the labels, or make it."""
        return self._series.get(labelvalues) or self._series.setdefault(labelvalues, CounterOfProcess())

    def describe(self) -> Iterable[Metric]:
        """Tell the names, so that the registry can refuse to have them twice."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Read all series."""
        family, with_created = self._family(), _are_created_samples_wanted()
        with self._lock:
            all_series = self._series.copy()
        for labels, series in all_series.items():
            family.add_metric(labels, series.value, series.created if with_created else None)
        return [family]

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(*self._described, labels=self._labels)


class HistogramsOfProcess(Collector):
    """A metric whose series are histograms of this process.

    Args:
        name: the metric's, without its unit, which is seconds.
        documentation: its help text.
        labels: their names.
        bounds: of the buckets, in seconds and in order, without the infinite one.
        registry: where it is registered.
        lock: see the module.

    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Labels,
        bounds: Sequence[float],
        *,
        registry: CollectorRegistry,
        lock: Lock,
    ) -> None:
        self._described = name, documentation
        self._labels = labels
        self._bounds = tuple(map(float, bounds))
        self._bucket_names = [_bucket_name(bound) for bound in (*self._bounds, math.inf)]
        self._lock = lock
        self._series: dict[Labels, HistogramOfProcess] = {}
        registry.register(self)

    def labels(self, *labelvalues: str) -> HistogramOfProcess:
        """Find the series of these values of the labels, or make it."""
        return self._series.get(labelvalues) or self._series.setdefault(labelvalues, HistogramOfProcess(self._bounds))

    def describe(self) -> Iterable[Metric]:
        """Tell the names, so that the registry can refuse to have them twice."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Read all series, each as it is between two updates."""
        family, with_created = self._family(), _are_created_samples_wanted()
        with self._lock:
            all_series = self._series.copy()
        for labels, series in all_series.items():
            with self._lock:
                counts, total, exemplars = series.counts.copy(), series.sum, series.exemplars.copy()
            cumulative = map(float, accumulate(counts))
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
                (name, count) if exemplar is None else (name, count, exemplar)
                for name, count, exemplar in zip(self._bucket_names, cumulative, exemplars, strict=True)
            ]
            family.add_metric(labels, buckets, total)
            if with_created:
                family.add_sample(
                    f"{family.name}_created", dict(zip(self._labels, labels, strict=True)), series.created
                )
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(*self._described, labels=self._labels, unit="seconds")


def _bucket_name(bound: float) -> str:
    """Write the label ``le`` as prometheus-client does."""
    name: str = utils.floatToGoString(bound)  # type: ignore[no-untyped-call] # prometheus-client does not type it
    return name


def _are_created_samples_wanted() -> bool:
    """Ask prometheus-client, which tells only by what it does."""
    (family,) = Counter("asked", "Whether there is a sample of its creation.", registry=None).collect()
    return any(sample.name == "asked_created" for sample in family.samples)
