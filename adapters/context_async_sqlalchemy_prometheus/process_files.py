"""The files of prometheus-client's multiprocess mode: those of ended workers are made into one.

Every process of a server has a file for each type of metric. prometheus-client keeps the files of processes that have
ended, because their counts still count. A server that replaces its workers would have more and more files, and a scrape
reads all. So a scrape adds the files of ended processes up, in one file of each type.

The lock keeps the scrapes of other processes out meanwhile, because they would count twice or not at all. A process
that is killed meanwhile leaves a journal, and the next scrape completes the work.
"""

import json
import os
import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

if sys.platform == "win32":

    @contextmanager
    def locked(directory: Path, *, alone: bool) -> Generator[None]:  # noqa: ARG001 - as below
        """Do nothing: on Windows no process counts as ended, so nothing is added up."""
        yield

else:
    import fcntl

    @contextmanager
    def locked(directory: Path, *, alone: bool) -> Generator[None]:
        """Hold the lock of a directory during the block.

        Args:
            directory: the directory.
            alone: keep scrapes of other processes out too.

        """
        # The end of the block closes the file, and that releases the lock, as the end of the process does.
        with (directory / _LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


_LOCK = "scrape.lock"
_SUMMABLE = ("counter", "histogram", "summary")
"""The types whose files are added up. Gauges have other rules, such as the maximum, or a label for each process."""

_NAMESPACE = "pid_namespace"
"""Names the PID namespace of the processes that write the files. Their ids mean nothing in another one."""

_OF_PROCESS = re.compile(r"(counter|gauge_[a-z]+|histogram|summary)_(\d+)\.db")
_OF_ENDED = re.compile(r"(counter|histogram|summary)_ended\.(db|new|json|draft)")


def claim(directory: Path) -> None:
    """Write down that the processes of this PID namespace use the directory, unless others do."""
    with suppress(FileExistsError), (directory / _NAMESPACE).open("x") as file:
        file.write(_own_namespace())


def written_files(directory: Path) -> list[Path]:
    """Return the files in a directory that prometheus-client and this module have written, but for the lock."""
    return [
        path
        for path in directory.iterdir()
        if path.name == _NAMESPACE or _OF_PROCESS.fullmatch(path.name) or _OF_ENDED.fullmatch(path.name)
    ]


def has_ended_processes(directory: Path) -> bool:
    """Return whether there are files that :func:`add_up_ended` would make fewer.

    In another container than the processes nothing can be told of them, so the answer is False.
    """
    namespace = directory / _NAMESPACE
    if namespace.exists() and namespace.read_text() != _own_namespace():
        return False
    return any(_ended(directory, type_, "json").exists() for type_ in _SUMMABLE) or bool(_of_ended(directory))


def add_up_ended(directory: Path) -> None:
    """Add up the counts of processes that have ended, and drop their live gauges. The caller holds the lock alone."""
    for type_ in _SUMMABLE:
        _complete(directory, type_)
    ended = _of_ended(directory)
    for path in ended:
        if path.name.startswith("gauge_live"):
            path.unlink(missing_ok=True)
    for type_ in _SUMMABLE:
        of_type = [path for path in ended if path.name.startswith(f"{type_}_")]
        if of_type:
            _add_up(directory, type_, of_type)


def drop_live_gauges(process_id: int, directory: Path) -> None:
    """Delete the live gauges of a process that has ended.

    prometheus-client's ``mark_process_dead`` raises if another process deletes a file at the same time.
    """
    for path in directory.glob(f"gauge_live*_{process_id}.db"):
        path.unlink(missing_ok=True)


def collected(directory: Path) -> Iterable[Metric]:
    """Return the metrics of all processes. The caller holds the lock."""
    files = [path for path in written_files(directory) if path.suffix == ".db"]
    return _merged(_readable(files), accumulate=True)


def _merged(files: list[str], *, accumulate: bool) -> Iterable[Metric]:
    collector: Any = MultiProcessCollector
    metrics: Iterable[Metric] = collector.merge(files, accumulate)
    return metrics


def _ended(directory: Path, type_: str, suffix: str) -> Path:
    return directory / f"{type_}_ended.{suffix}"


def _readable(paths: Iterable[Path]) -> list[str]:
    readable: list[str] = []
    for path in paths:
        # A live gauge may be deleted meanwhile. A file that has just been made is empty for a moment, and
        # prometheus-client cannot read it then.
        with suppress(FileNotFoundError):
            if path.stat().st_size:
                readable.append(str(path))
    return readable


def _of_ended(directory: Path) -> list[Path]:
    ended: list[Path] = []
    for path in directory.iterdir():
        match = _OF_PROCESS.fullmatch(path.name)
        if match is None or _is_running(int(match[2])):
            continue
        if match[1] in _SUMMABLE or match[1].startswith("gauge_live"):
            ended.append(path)
    return ended


def _add_up(directory: Path, type_: str, paths: list[Path]) -> None:
    new, draft = _ended(directory, type_, "new"), _ended(directory, type_, "draft")
    new.unlink(missing_ok=True)
    _write(new, _readable([_ended(directory, type_, "db"), *paths]))
    draft.write_text(json.dumps([path.name for path in paths]))
    # If this process is killed before this line, the next scrape begins anew. After it, the next scrape goes on.
    draft.replace(_ended(directory, type_, "json"))
    _complete(directory, type_)


def _complete(directory: Path, type_: str) -> None:
    """Replace the old files by the new one, if a journal names them."""
    new, journal = _ended(directory, type_, "new"), _ended(directory, type_, "json")
    if not journal.exists():
        return
    if new.exists():
        new.replace(_ended(directory, type_, "db"))
    for name in json.loads(journal.read_text()):
        (directory / name).unlink(missing_ok=True)
    journal.unlink()


def _write(path: Path, files: list[str]) -> None:
    values: Any = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    try:
        for metric in _merged(files, accumulate=False):
            for sample in metric.samples:
                labels = sample.labels
                key = mmap_key(metric.name, sample.name, list(labels), list(labels.values()), metric.documentation)
                values.write_value(key, sample.value, 0.0)
    finally:
        values.close()


def _own_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""  # Only Linux has PID namespaces.


def _is_running(process_id: int) -> bool:
    if sys.platform == "win32":
        return True  # On Windows os.kill would kill the process, whatever the signal.
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
