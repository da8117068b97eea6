"""Support for servers with several processes behind one port: prometheus-client's multiprocess mode.

Set ``PROMETHEUS_MULTIPROC_DIR`` in the server's environment. Each process writes its measurements into files of that
directory, and the process that is scraped answers for all. The files of an earlier run must be deleted before the
first process starts. On Sanic ``setup_db`` deletes them. (A Sanic server with ``single_process=True`` needs no
directory.) gunicorn needs one line in its ``gunicorn.conf.py``::

    from context_async_sqlalchemy_prometheus.multiprocess import child_exit, on_starting

With any other server call :func:`wipe` in the main process before it starts the workers, or empty the directory before
the start. The directory belongs to one server: do not share it with a second server or with
another container.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, values
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .process_files import add_up_ended, collected, drop_live_gauges, has_ended_processes, locked, written_files
from .several_workers import warn_of_several

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def directory_or_none() -> Path | None:
    """Return the directory of the multiprocess mode, or None if ``PROMETHEUS_MULTIPROC_DIR`` is not set.

    Raises:
        RuntimeError: the variable was set after the import of prometheus-client, which keeps its values in the memory
            of this process then.

    """
    directory = os.environ.get(VARIABLE)
    if not directory:
        return None
    if values.ValueClass is values.MutexValue:
        raise RuntimeError(
            f"{VARIABLE} was set after prometheus_client had been imported, which decides at its import whether "
            "there are several processes: set it in the environment of the server"
        )
    return Path(directory)


def wipe(directory: Path) -> None:
    """Create the directory, or delete the files in it that an earlier run has written. Other files stay.

    Call it in a main process, before it starts its workers.

    Args:
        directory: the value of ``PROMETHEUS_MULTIPROC_DIR``.

    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in written_files(directory):
        path.unlink(missing_ok=True)


def registry_of_all(directory: Path) -> CollectorRegistry:
    """Return a registry with the metrics of all processes.

    A scrape of it drops the live gauges of processes that have ended, and adds their counts up in one file.
    """
    registry = CollectorRegistry()
    registry.register(_AllProcesses(directory))
    return registry


class _AllProcesses(Collector):
    """The metrics of all processes.

    A scrape looks at the running processes itself, because not every server has a hook for the end of a worker, and the
    hook does not run if the main process dies too.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        with locked(self._directory, alone=False):
            if not has_ended_processes(self._directory):
                return collected(self._directory)
        with locked(self._directory, alone=True):
            add_up_ended(self._directory)
            return collected(self._directory)


def on_starting(server: Any) -> None:
    """Wipe the directory, or warn that there is none. gunicorn calls this hook by its name.

    ``gunicorn.conf.py`` has to import it.
    After an upgrade on the fly (SIGUSR2) the workers of the old server still serve requests, so their files stay.
    """
    directory = directory_or_none()
    if directory is None:
        warn_of_several(server.cfg.workers)
    elif server.master_pid == 0:
        wipe(directory)


def child_exit(_server: Any, worker: Any) -> None:
    """Delete the gauges of a worker that has ended. gunicorn calls this hook by its name."""
    directory = directory_or_none()
    if directory is not None:
        drop_live_gauges(worker.pid, directory)
