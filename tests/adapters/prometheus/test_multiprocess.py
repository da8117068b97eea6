"""prometheus-client's multiprocess mode, in one process: what is written, when, and what is dropped."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, values

from context_async_sqlalchemy.observer import PoolPeaks, PoolReading
from context_async_sqlalchemy_prometheus import PrometheusObserver, multiprocess, pools
from tests.adapters.prometheus.records import FakePool, checkout, context_of, transaction
from tests.support.waiting import until

USED = 'db_client_connection_count{db_client_connection_pool_name="main",db_client_connection_state="used"}'
_SERVER = 'db_client_connection_pool_name="main",server_address="db.example",server_port="5432"'
TO_SERVER = f"db_session_server_connections{{{_SERVER}}}"

_OF_MAIN = '{db_client_connection_pool_name="main"}'
SHARE = f"db_session_pool_utilization_ratio{_OF_MAIN}"
USED_PEAK = f"db_session_pool_used_peak{_OF_MAIN}"
PENDING_PEAK = f"db_session_pool_pending_peak{_OF_MAIN}"

FAILED = 'db_session_contexts_total{outcome="failed"}'
UNKNOWN = (
    "db_session_transaction_duration_seconds_count"
    '{db_client_connection_pool_name="main",outcome="unknown",route="GET /"}'
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Have prometheus-client in the mode that it chooses at its import."""
    directory = tmp_path / "values"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())  # type: ignore[no-untyped-call]
    yield directory
    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]


@pytest.fixture
def observer(directory: Path) -> PrometheusObserver:
    assert not directory.exists()
    return PrometheusObserver(CollectorRegistry())


def _samples(observer: PrometheusObserver) -> dict[str, float]:
    """Scrape the process that the observer is of."""
    return _parsed(observer.expose("", "")[1])


def _samples_of_others(directory: Path) -> dict[str, float]:
    """Read what another process would."""
    program = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry, sys.argv[1])
sys.stdout.buffer.write(generate_latest(registry))
"""
    command = (sys.executable, "-c", program, str(directory))
    return _parsed(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603


def _parsed(body: bytes) -> dict[str, float]:
    samples = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in samples}


def _reading(used: int) -> PoolReading:
    return PoolReading(used=used, idle=0, pending=0, maximum=10, idle_maximum=5)


@pytest.mark.usefixtures("directory")
def test_a_mode_that_was_asked_for_too_late_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    with pytest.raises(RuntimeError, match="set after prometheus_client had been imported"):
        PrometheusObserver(CollectorRegistry())


def test_all_is_measured_as_in_one_process(observer: PrometheusObserver, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(observer: PrometheusObserver) -> dict[str, float]:
        pool = FakePool(server_address="db.example")
        observer.pool_observed(pool)
        pool.reading = _reading(used=3)
        observer.checkout_ended(checkout(pool, context_of("GET /"), transaction(4), early_by="commit"))
        return {series: value for series, value in _samples(observer).items() if "_created" not in series}

    with monkeypatch.context() as patch:
        patch.delenv("PROMETHEUS_MULTIPROC_DIR")
        patch.setattr(values, "ValueClass", values.MutexValue)
        alone = measured(PrometheusObserver(CollectorRegistry()))
    assert measured(observer) == alone
    assert alone[USED] == 3
    assert alone[UNKNOWN] == alone[FAILED] == 0


async def test_what_a_pool_is_doing_is_written_every_second_for_the_other_processes(
    observer: PrometheusObserver, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "REFRESH_SECONDS", 0.01)
    pool = FakePool(server_address="db.example")
    observer.pool_observed(pool)
    pool.reading = _reading(used=7)
    await until(lambda: _samples_of_others(directory)[USED] == 7, "the use of the pool is seen from outside")
    assert _samples_of_others(directory)[TO_SERVER] == 7
    observer.pool_forgotten(pool)
    assert _samples_of_others(directory)[USED] == 0
    assert _samples_of_others(directory)[TO_SERVER] == 0


async def test_a_pool_that_was_made_before_the_loop_is_written_once_it_is_used(
    observer: PrometheusObserver, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "REFRESH_SECONDS", 0.01)
    pool = FakePool()
    await asyncio.to_thread(observer.pool_observed, pool)
    pool.reading = _reading(used=6)
    observer.checkout_ended(checkout(pool, None))
    assert _samples_of_others(directory)[USED] == 6
    observer.pool_forgotten(pool)


def test_one_exhausted_process_is_seen_among_idle_ones(observer: PrometheusObserver, directory: Path) -> None:
    pool = FakePool()
    pool.reading, pool.highest = _reading(used=10), PoolPeaks(used=10, pending=4)
    observer.pool_observed(pool)
    _samples(observer)
    for kind in ("gauge_livesum", "gauge_livemax"):
        (directory / f"{kind}_1.db").write_bytes((directory / f"{kind}_{os.getpid()}.db").read_bytes())
    pool.reading, pool.highest = _reading(used=0), PoolPeaks(used=1, pending=0)
    samples = _samples(observer)
    assert (samples[USED], samples[SHARE]) == (10, 1.0)
    assert (samples[USED_PEAK], samples[PENDING_PEAK]) == (10, 4)
    (directory / "gauge_livemax_1.db").unlink()
    samples = _samples(observer)
    assert (samples[SHARE], samples[USED_PEAK], samples[PENDING_PEAK]) == (0.0, 1, 0)
    observer.pool_forgotten(pool)
    assert _samples(observer)[USED_PEAK] == 0


def test_a_scrape_drops_the_gauges_of_processes_that_are_gone(observer: PrometheusObserver, directory: Path) -> None:
    pool = FakePool()
    observer.pool_observed(pool)
    pool.reading = _reading(used=1)
    observer.checkout_ended(checkout(pool, None))
    _samples(observer)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for kind in ("gauge_livesum", "counter"):
        mine = directory / f"{kind}_{os.getpid()}.db"
        (directory / f"{kind}_{int(gone.stdout)}.db").write_bytes(mine.read_bytes())
    assert _samples_of_others(directory)[USED] == 2
    samples = _samples(observer)
    assert samples[USED] == 1
    assert samples['db_session_statements_total{db_client_connection_pool_name="main",route="none"}'] == 4


def test_gunicorn_starts_with_an_empty_directory_but_keeps_it_at_an_upgrade(directory: Path) -> None:
    multiprocess.on_starting(SimpleNamespace(master_pid=0, cfg=SimpleNamespace(workers=1)))
    left_behind = directory / "counter_1.db"
    left_behind.touch()
    multiprocess.on_starting(SimpleNamespace(master_pid=4711))
    assert left_behind.exists()
    multiprocess.on_starting(SimpleNamespace(master_pid=0, cfg=SimpleNamespace(workers=1)))
    assert not left_behind.exists()


def test_gunicorn_drops_the_gauges_of_a_worker_that_exits(directory: Path) -> None:
    multiprocess.wipe(directory)
    gauges, counters = directory / "gauge_livesum_4711.db", directory / "counter_4711.db"
    gauges.touch()
    counters.touch()
    multiprocess.child_exit(None, SimpleNamespace(pid=4711))
    assert not gauges.exists()
    assert counters.exists()


def test_gunicorns_hooks_do_nothing_without_the_mode() -> None:
    multiprocess.on_starting(SimpleNamespace(master_pid=0, cfg=SimpleNamespace(workers=1)))
    multiprocess.child_exit(None, SimpleNamespace(pid=4711))
