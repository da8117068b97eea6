"""Support for servers with several processes behind one port: prometheus-client's multiprocess mode.

Set ``PROMETHEUS_MULTIPROC_DIR`` in the server's environment. Each process writes its measurements into files of that
directory, and the process that is scraped answers for all. The files of an earlier run must be deleted before the
first process starts. On Sanic ``setup_db`` deletes them. (A Sanic server with ``single_process=True`` needs no
directory.) gunicorn needs one line in its ``gunicorn.conf.py``::

    from context_async_sqlalchemy_prometheus.multiprocess import child_exit, on_starting

With any other server call :func:`wipe` in the main process before it starts the workers, or delete the directory's
``*.db`` files before the start. The directory belongs to one server: do not share it with a second server or with
another container.
"""

import os
import sys
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, multiprocess, values

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
    """Create the directory, or delete the files of an earlier run in it.

    Call it in a main process, before it starts its workers.

    Args:
        directory: the value of ``PROMETHEUS_MULTIPROC_DIR``.

    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.db"):
        path.unlink(missing_ok=True)


def registry_of_all(directory: Path) -> CollectorRegistry:
    """Return a registry with the metrics of all processes. The gauges of dead processes are deleted.

    This function looks at the running processes itself, because not every server has a hook for the death of a
    worker, and the hook does not run if the main process dies too.
    """
    for path in directory.glob("gauge_live*.db"):
        process_id = path.stem.rpartition("_")[2]
        if process_id.isdigit() and not _is_running(int(process_id)):
            _drop_gauges(int(process_id), directory)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    return registry


def on_starting(server: Any) -> None:
    """Wipe the directory. gunicorn calls this hook by its name if ``gunicorn.conf.py`` imports it.

    After an upgrade on the fly (SIGUSR2) the workers of the old server still serve requests, so their files stay.
    """
    directory = directory_or_none()
    if directory is not None and server.master_pid == 0:
        wipe(directory)


def child_exit(_server: Any, worker: Any) -> None:
    """Delete the gauges of a worker that has ended. gunicorn calls this hook by its name."""
    directory = directory_or_none()
    if directory is not None:
        _drop_gauges(worker.pid, directory)


def _drop_gauges(process_id: int, directory: Path) -> None:
    multiprocess.mark_process_dead(process_id, str(directory))  # type: ignore[no-untyped-call]


def _is_running(process_id: int) -> bool:
    if sys.platform == "win32":
        return True  # On Windows os.kill would kill the process, whatever the signal.
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
