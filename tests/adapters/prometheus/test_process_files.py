"""The files of the multiprocess mode: those of ended workers become one, without a loss, and no other is deleted."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from context_async_sqlalchemy_prometheus import PrometheusObserver, multiprocess, process_files
from tests.adapters.prometheus.records import FakePool, checkout, context_of, transaction

WORKERS = 30
ROUTES = 100

Write = Callable[[int], None]
"""Measures something in a process of this id."""


def _gone() -> int:
    """Return the id of a process that has ended."""
    return int(
        subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True).stdout
    )


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def process_id(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Generator[list[int]]:  # noqa: ARG001 - used by prometheus-client
    """Let prometheus-client take this process for another one, by the id in the list."""
    process_id = [os.getpid()]
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: process_id[0]))  # type: ignore[no-untyped-call]
    yield process_id
    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the ids that count as ended."""
    ended: set[int] = set()

    def is_running(process_id: int) -> bool:
        return process_id not in ended

    monkeypatch.setattr(process_files, "_is_running", is_running)
    return ended


def _scrape(directory: Path) -> dict[str, float]:
    return _parsed(generate_latest(multiprocess.registry_of_all(directory)))


def _as_prometheus_client_reads(directory: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    return _parsed(generate_latest(registry))


def _parsed(body: bytes) -> dict[str, float]:
    samples = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in samples}


def _measure(process_ids: list[int], process_id: list[int]) -> None:
    registry = CollectorRegistry()
    counter = Counter("orders", "Orders, with a \\ and ü.", ["what"], registry=registry)
    histogram = Histogram("price", "Prices.", ["what"], registry=registry)
    summary = Summary("size", "Sizes.", registry=registry)
    live = Gauge("livesum", "Of living processes.", registry=registry, multiprocess_mode="livesum")
    kept = Gauge("max", "Of all processes.", registry=registry, multiprocess_mode="max")
    for number, each in enumerate(process_ids):
        process_id[0] = each
        counter.labels('tea "green"').inc(number + 1)
        histogram.labels("tea").observe(number)
        summary.observe(number)
        live.set(1)
        kept.set(number)


def test_counts_of_ended_processes_are_added_up_in_one_file(
    directory: Path, process_id: list[int], ended: set[int]
) -> None:
    _measure([1001, 1002, 1003], process_id)
    before = _as_prometheus_client_reads(directory)
    assert before["livesum"] == 3
    assert _scrape(directory) == before
    ended |= {1001, 1002}
    after = _scrape(directory)
    assert after == {**before, "livesum": 1.0}
    assert _as_prometheus_client_reads(directory) == after
    assert {path.name for path in directory.glob("*_*")} == {
        *(f"{type_}_{whose}.db" for type_ in ("counter", "histogram", "summary") for whose in ("1003", "ended")),
        *(f"gauge_max_{each}.db" for each in (1001, 1002, 1003)),
        "gauge_livesum_1003.db",
        *(f"{type_}_{os.getpid()}.db" for type_ in ("gauge_livesum", "gauge_max", "summary")),
    }
    # Again, with the file of those that have ended before.
    ended.add(1003)
    assert _scrape(directory) == {**after, "livesum": 0.0}
    assert len(list(directory.glob("counter_*.db"))) == 1


def test_a_process_that_really_has_ended_is_seen(directory: Path, process_id: list[int]) -> None:
    gone = _gone()
    _measure([gone, os.getpid()], process_id)
    before = _as_prometheus_client_reads(directory)
    assert _scrape(directory) == {**before, "livesum": 1.0}
    assert (directory / f"counter_{os.getpid()}.db").exists()
    assert not (directory / f"counter_{gone}.db").exists()


def test_a_process_of_another_container_adds_nothing_up(
    directory: Path, process_id: list[int], ended: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    PrometheusObserver(CollectorRegistry())
    _measure([1001, 1002], process_id)
    before, files = _as_prometheus_client_reads(directory), set(directory.glob("*.db"))
    ended |= {1001, 1002}
    with monkeypatch.context() as patch:
        patch.setattr(process_files, "_own_namespace", lambda: "pid:[of another container]")
        process_files.claim(directory)
        assert _scrape(directory) == before
        assert set(directory.glob("*.db")) == files
    _scrape(directory)
    assert set(directory.glob("*.db")) < files | set(directory.glob("*_ended.db"))
    multiprocess.wipe(directory)
    assert [path.name for path in directory.iterdir()] == ["scrape.lock"]


@pytest.mark.parametrize(
    ("killed_at", "calls_before"),
    [(step, calls) for step in ("write_text", "replace", "unlink") for calls in range(6)],
)
def test_nothing_is_lost_if_a_process_is_killed_while_it_adds_up(  # noqa: PLR0917 - fixtures
    directory: Path,
    process_id: list[int],
    ended: set[int],
    monkeypatch: pytest.MonkeyPatch,
    killed_at: str,
    calls_before: int,
) -> None:
    _measure([1001, 1002, 1003], process_id)
    expected = {**_as_prometheus_client_reads(directory), "livesum": 1.0}
    ended |= {1001, 1002}
    calls = 0
    real = getattr(Path, killed_at)

    def kill(path: Path, *arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls > calls_before:
            raise KeyboardInterrupt
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, killed_at, kill)
        try:
            _scrape(directory)
        except KeyboardInterrupt:
            assert calls > calls_before
    assert _scrape(directory) == expected
    assert _scrape(directory) == expected
    assert _as_prometheus_client_reads(directory) == expected


def test_recycled_workers_cost_a_scrape_nothing(directory: Path, process_id: list[int], ended: set[int]) -> None:
    observer, pool = PrometheusObserver(CollectorRegistry()), FakePool()
    observer.pool_observed(pool)
    for worker in range(WORKERS):
        process_id[0] = 1000 + worker
        for route in range(ROUTES):
            context = context_of(f"GET /resources/{route}/{{id}}")
            observer.checkout_ended(checkout(pool, context, transaction(3), early_by="commit"))
    size = _size(directory)
    ended |= set(range(1000, 1000 + WORKERS - 1))
    labels = f'db_client_connection_pool_name="main",route="GET /resources/{ROUTES - 1}/{{id}}"'
    statements = f"db_session_statements_total{{{labels}}}"
    began = time.process_time()
    _, body = observer.expose("", "")
    first = time.process_time() - began
    assert _parsed(body)[statements] == 2 * WORKERS
    began = time.process_time()
    observer.expose("", "")
    second = time.process_time() - began
    assert _size(directory) < size / 10, (size, _size(directory))
    assert second < first / 3, (first, second)


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_scrapes_at_once_add_up_once(directory: Path, process_id: list[int], ended: set[int]) -> None:
    workers = list(range(1001, 1041))
    _measure([*workers, 2000], process_id)
    expected = {**_as_prometheus_client_reads(directory), "livesum": 1.0}

    def scrape() -> dict[str, float]:
        seen = _scrape(directory)
        seen.pop("livesum")
        return seen

    with ThreadPoolExecutor(8) as threads:
        scrapes: list[Future[dict[str, float]]] = []
        for worker in workers:
            scrapes.append(threads.submit(scrape))
            ended.add(worker)
        expected.pop("livesum")
        for each in scrapes:
            assert each.result() == expected


def test_a_file_that_has_just_been_made_is_no_error(directory: Path, process_id: list[int]) -> None:
    _measure([os.getpid()], process_id)
    before = _scrape(directory)
    (directory / "counter_1.db").touch()
    (directory / "gauge_livesum_1.db").touch()
    assert _scrape(directory) == before


def test_only_files_of_the_mode_are_read_and_deleted(directory: Path, process_id: list[int], ended: set[int]) -> None:
    own = [directory / name for name in ("shop.db", "counter.db", "counters_1.db", "gauge_1.db", "ended.db")]
    for path in own:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE orders (id INTEGER)")
        database.close()
    _measure([1001, 1002], process_id)
    ended.add(1001)
    assert _scrape(directory)['orders_total{what="tea \\"green\\""}'] == 3
    (directory / "histogram_ended.new").touch()
    multiprocess.wipe(directory)
    assert sorted(path for path in directory.iterdir() if path.suffix != ".lock") == sorted(own)


def test_gauges_that_another_process_deletes_at_the_same_time_are_no_error(
    directory: Path, process_id: list[int], ended: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _measure([1001, 1002], process_id)
    before = _scrape(directory)
    gone = directory / "gauge_livesum_1003.db"
    ended.add(1003)
    real = Path.iterdir

    def iterdir(path: Path) -> list[Path]:
        return [*real(path), gone]

    def glob(_path: Path, _pattern: str) -> list[Path]:
        return [gone]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        patch.setattr(Path, "glob", glob)
        assert _scrape(directory) == before
        multiprocess.child_exit(None, SimpleNamespace(pid=1003))
