"""Several processes behind one port: prometheus-client's multiprocess mode, and what a server must do for it.

Set ``PROMETHEUS_MULTIPROC_DIR`` in the server's environment. Each process writes what it measures into files of that
directory, and whichever is scraped answers for all. The files of an earlier run must be gone before the first process
starts. On Sanic ``setup_db`` sees to it (not with ``single_process=True``, which needs no directory); gunicorn needs
one line in its ``gunicorn.conf.py``::

    from context_async_sqlalchemy_prometheus.multiprocess import child_exit, on_starting

With any other server call :func:`wipe` in the main process before it starts the others, or delete the directory's
``*.db`` files before the start. The directory belongs to one server: not to a second one, nor to another container.
"""

import os
import sys
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, multiprocess, values

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def directory_or_none() -> Path | None:
    """Find where the processes meet, if there are several.

    Raises:
        RuntimeError: the variable was set too late: prometheus-client keeps its values in this process.

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
    """Make the directory, or delete what an earlier run left in it; for a main process before it starts others.

    Args:
        directory: the value of ``PROMETHEUS_MULTIPROC_DIR``.

    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.db"):
        path.unlink(missing_ok=True)


def registry_of_all(directory: Path) -> CollectorRegistry:
    """Collect what all processes have written; the gauges of those that have died are dropped.

    A server's hook that tells of a worker's death does not run when the main process dies with it, nor on every
    server: what counts is whether the process is there.
    """
    for path in directory.glob("gauge_live*.db"):
        process_id = path.stem.rpartition("_")[2]
        if process_id.isdigit() and not _is_running(int(process_id)):
            _drop_gauges(int(process_id), directory)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    return registry


def on_starting(server: Any) -> None:
    """Wipe the directory: gunicorn's hook of that name, to be imported into ``gunicorn.conf.py``.

    After an upgrade on the fly (SIGUSR2) the processes of the old server are still serving: their files stay.
    """
    directory = directory_or_none()
    if directory is not None and server.master_pid == 0:
        wipe(directory)


def child_exit(_server: Any, worker: Any) -> None:
    """Drop the gauges of a worker that has ended: gunicorn's hook of that name."""
    directory = directory_or_none()
    if directory is not None:
        _drop_gauges(worker.pid, directory)


def _drop_gauges(process_id: int, directory: Path) -> None:
    multiprocess.mark_process_dead(process_id, str(directory))  # type: ignore[no-untyped-call]


def _is_running(process_id: int) -> bool:
    if sys.platform == "win32":
        return True  # There os.kill would kill it, whatever the signal.
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
