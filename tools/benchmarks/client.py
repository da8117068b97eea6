"""The measuring side: starts the server process, and loads one of its ports with a bounded number of requests."""

import asyncio
import os
import sys
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

CONNECTIONS = 8


@dataclass
class ServerUnderTest:
    """A running server process.

    Attributes:
        ports: the port of each of its applications, by name.

    """

    ports: dict[str, int]

    async def ask(self, path: str) -> str:
        """Ask the control application."""
        url = f"http://127.0.0.1:{self.ports['control']}{path}"

        def read() -> str:
            with urllib.request.urlopen(url) as response:
                return str(response.read().decode())

        return await asyncio.to_thread(read)

    async def load(self, application: str, path: str, requests: int) -> None:
        """Send requests to one application over a few keep-alive connections, each waiting for its answer."""
        share = requests // CONNECTIONS
        await asyncio.gather(*(requests_to(self.ports[application], path, share) for _ in range(CONNECTIONS)))

    async def cpu_per_request(self, application: str, path: str, requests: int) -> float:
        """Return the server's CPU time per request, in microseconds."""
        before = int(await self.ask("/cpu-time"))
        await self.load(application, path, requests)
        after = int(await self.ask("/cpu-time"))
        return (after - before) / 1000 / (requests // CONNECTIONS * CONNECTIONS)


@asynccontextmanager
async def server_under_test(
    url: str,
    core: int | None,
    module: str,
    *arguments: str,
    python: Sequence[str] = (sys.executable,),
    variables: Mapping[str, str] = {},
) -> AsyncGenerator[ServerUnderTest]:
    """Start a server process, on a core of its own where there are two.

    Args:
        url: the database.
        core: the processor that the server is pinned to.
        module: the server's program.
        arguments: its other arguments.
        python: the interpreter, with its options.
        variables: of the process's environment, beside those of this process.

    """
    command = [*python, "-m", module, *arguments]
    if core is not None:
        command += ["--core", str(core)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # The arguments of a process can be read by all accounts of the machine.
        env={**os.environ, "DATABASE_URL": url, **variables},
    )
    assert process.stdin is not None  # noqa: S101 - for the type checkers
    assert process.stdout is not None  # noqa: S101 - for the type checkers
    try:
        ports: dict[str, int] = {}
        while (line := (await process.stdout.readline()).decode().split()) != ["ready"]:
            if not line:
                raise RuntimeError("the server process ended before it was ready")
            ports[line[0]] = int(line[1])
        yield ServerUnderTest(ports)
    finally:
        process.stdin.close()
        process.terminate()
        await process.wait()


def separate_cores() -> tuple[int, set[int]] | None:
    """Return a core for the server and the others, or None if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], set(cores[1:])) if len(cores) > 1 else None


async def requests_to(port: int, path: str, count: int) -> None:
    """Send requests over one keep-alive connection, each after the answer to the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"unexpected answer: {head!r}")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
