"""Counts the instructions of requests under valgrind."""

import asyncio
import os
import re
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tools.benchmarks.client import requests_to

T = TypeVar("T")

WARM_UP = 40
"""Requests before the first block, in which CPython specializes the code and caches are filled."""

BLOCKS = 6

REQUESTS = 20
"""Requests of a block."""

_GIVE_UP = 300.0
"""Seconds for a server to be counted, under valgrind on a busy machine."""

_ONLY_THE_REQUESTS = dict.fromkeys(
    ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), "1000000"
)
"""So that the thread that exports spans sleeps while requests are counted."""


@dataclass(frozen=True)
class Standard:
    """A standard request: a path of one of the benchmarks' applications."""

    framework: str
    application: str
    path: str = "/two-selects"


class _Server:
    """A server under valgrind."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, counts: Path) -> None:
        self._reader = reader
        self._writer = writer
        self._counts = counts

    async def per_request(self, standard: Standard) -> int:
        """Return the instructions of one request in the block that took the fewest.

        A timer, another thread or the garbage collector only ever adds to a block.
        """
        ports: dict[str, int] = {}
        while (line := await self._line()) != ["ready"]:
            ports[line[0]] = int(line[1])
        port = ports[standard.application]
        # Over one connection at a time, so that the server always does the same.
        await requests_to(port, standard.path, WARM_UP)
        alone = min([await self._taken_by(port, standard.path, 1) for _ in range(BLOCKS)])
        block = min([await self._taken_by(port, standard.path, 1 + REQUESTS) for _ in range(BLOCKS)])
        return (block - alone) // REQUESTS

    async def _taken_by(self, port: int, path: str, requests: int) -> int:
        before = await self._instructions()
        await requests_to(port, path, requests)
        return await self._instructions() - before

    async def _instructions(self) -> int:
        self._writer.write(b"?")
        _, process = await self._line()
        counted = self._counts / process
        summary = re.search(r"^summary: (\d+)", counted.read_text(), re.MULTILINE)
        counted.unlink()
        assert summary is not None  # noqa: S101 - for the type checkers
        return int(summary[1])

    async def _line(self) -> list[str]:
        line = await self._reader.readline()
        if not line:
            raise RuntimeError("the server under valgrind has ended")
        return line.decode().split()


class _ForkingProcess:
    """The process under valgrind that forks the servers."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @asynccontextmanager
    async def server(self, standard: Standard, number: int) -> AsyncGenerator[_Server]:
        """Run a server for as long as the block takes."""
        connected: asyncio.Queue[tuple[StreamReader, StreamWriter]] = asyncio.Queue()

        def connect(reader: StreamReader, writer: StreamWriter) -> None:
            connected.put_nowait((reader, writer))

        address = self._folder / f"socket-{number}"
        async with await asyncio.start_unix_server(connect, address):
            assert self._process.stdin is not None  # noqa: S101 - for the type checkers
            self._process.stdin.write(f"{standard.framework} {standard.application} {address}\n".encode())
            reader, writer = await self._unless_it_ends(connected.get())
            try:
                yield _Server(reader, writer, self._folder)
            finally:
                writer.close()

    async def _unless_it_ends(self, connected: Coroutine[Any, Any, T]) -> T:
        waits = asyncio.ensure_future(connected)
        ended = asyncio.ensure_future(self._process.wait())
        await asyncio.wait([waits, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not waits.done():
            waits.cancel()
            raise RuntimeError("the process under valgrind has ended, see above")
        return waits.result()


@asynccontextmanager
async def _forking_process(url: str, folder: Path) -> AsyncGenerator[_ForkingProcess]:
    process = await asyncio.create_subprocess_exec(
        *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--log-file=/dev/null"),
        *(f"--cachegrind-out-file={folder}/%p", sys.executable, "-m", "tools.benchmarks.budget.server"),
        stdin=asyncio.subprocess.PIPE,
        # The arguments of a process can be read by all accounts of the machine.
        env={**os.environ, **_ONLY_THE_REQUESTS, "DATABASE_URL": url, "PYTHONHASHSEED": "0"},
    )
    try:
        yield _ForkingProcess(process, folder)
    finally:
        assert process.stdin is not None  # noqa: S101 - for the type checkers
        process.stdin.close()
        await process.wait()


async def count(requests: Mapping[str, Standard], url: str, folder: Path) -> dict[str, int]:
    """Return the instructions of one request of each kind, by its name.

    Args:
        requests: what is asked, by name.
        url: the database.
        folder: an empty folder for valgrind's files and the sockets.

    """
    places = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    async with _forking_process(url, folder) as forking:

        async def counted(standard: Standard, number: int) -> int:
            async with places, asyncio.timeout(_GIVE_UP), forking.server(standard, number) as server:
                return await server.per_request(standard)

        counts = await asyncio.gather(*(counted(standard, number) for number, standard in enumerate(requests.values())))
    return dict(zip(requests, counts, strict=True))
