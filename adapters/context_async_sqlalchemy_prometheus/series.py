"""Counters and histograms: their interface, and an implementation for a single process by plain numbers.

prometheus-client keeps each bucket in an object that has a lock and may keep its value in a file. A server with
several processes needs that (see :mod:`context_async_sqlalchemy_prometheus.multiprocess`). A single process needs
numbers, and one lock for all updates of an event.

Several threads may measure, each with an event loop, while another thread renders a scrape. ``counts[index] += 1`` is
not atomic, not even under the GIL. So every caller of ``labels``, ``inc`` or ``observe`` holds the lock that the
families were made with, and a scrape holds the lock while it reads a histogram.

The lock is reentrant, because the garbage collector may run during an update. If it collects a connection that was
never returned, SQLAlchemy calls the observer in the same thread.
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
    """The counter of one set of labels. prometheus-client's counter is one."""

    def inc(self, amount: float = 1) -> None:
        """Add an amount to the counter."""
        ...


class HistogramSeries(Protocol):
    """The histogram of one set of labels. prometheus-client's histogram is one."""

    def observe(self, amount: float, exemplar: Trace | None = None) -> None:
        """Add a duration in seconds, with the trace in which it was measured, if any."""
        ...


class Family(Protocol[SeriesT_co]):
    """All series of a metric."""

    def labels(self, *labelvalues: str) -> SeriesT_co:
        """Return the series of these label values. A new series begins at zero."""
        ...


class CounterOfProcess:
    """A counter kept as a number."""

    __slots__ = ("created", "value")

    def __init__(self) -> None:
        self.created = time.time()
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add an amount to the counter."""
        self.value += amount


class HistogramOfProcess:
    """A histogram kept as a list of numbers.

    Args:
        bounds: the upper bounds of the buckets in seconds, ascending, without the infinite one.

    """

    __slots__ = ("bounds", "counts", "created", "exemplars", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.created = time.time()
        self.counts = [0] * (len(bounds) + 1)
        """The number of durations per bucket, not cumulated."""
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] = [None] * len(self.counts)

    def observe(self, amount: float, exemplar: Trace | None = None) -> None:
        """Add a duration in seconds, with the trace in which it was measured, if any."""
        bounds = self.bounds
        # The comparison saves the search for almost all waits, because they are in the first bucket.
        index = bisect_left(bounds, amount) if amount > bounds[0] else 0
        self.counts[index] += 1
        self.sum += amount
        if exemplar is not None:
            self.exemplars[index] = Exemplar(exemplar, amount, time.time())


class CountersOfProcess(Collector):
    """A metric whose series are counters of this process.

    Args:
        name: the name of the metric without ``_total``.
        documentation: the help text.
        labels: the names of the labels.
        registry: the registry that the metric registers itself in.
        lock: the lock that callers hold during updates; see the module.

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
        """Return the series of these label values. A new series begins at zero."""
        return self._series.get(labelvalues) or self._series.setdefault(labelvalues, CounterOfProcess())

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples, so that the registry can refuse a second metric of the same name."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the current values of all series."""
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
        name: the name of the metric without its unit, which is seconds.
        documentation: the help text.
        labels: the names of the labels.
        bounds: the upper bounds of the buckets in seconds, ascending, without the infinite one.
        registry: the registry that the metric registers itself in.
        lock: the lock that callers hold during updates; see the module.

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
        """Return the series of these label values. A new series begins at zero."""
        return self._series.get(labelvalues) or self._series.setdefault(labelvalues, HistogramOfProcess(self._bounds))

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples, so that the registry can refuse a second metric of the same name."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the current values of all series. No series is read in the middle of an update."""
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
    """Return the value of the label ``le`` as prometheus-client writes it."""
    name: str = utils.floatToGoString(bound)  # type: ignore[no-untyped-call] # prometheus-client does not type it
    return name


def _are_created_samples_wanted() -> bool:
    """Return whether prometheus-client renders ``_created`` samples: it has no public setting to read."""
    (family,) = Counter("asked", "Whether there is a sample of its creation.", registry=None).collect()
    return any(sample.name == "asked_created" for sample in family.samples)
