"""Starting a contestant's server: this project's in this environment, a peer's in its own."""

import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.benchmarks.client import ServerUnderTest, server_under_test
from tools.benchmarks.peers.contestants import REPOSITORY, Contestant


@dataclass(frozen=True)
class Place:
    """Where the servers run.

    Attributes:
        url: the database.
        core: the processor that the servers are pinned to, if there is more than one.
        environments: the folder of the peers' environments.
        tools_only: a folder that has the package ``tools`` and nothing else of this project.

    """

    url: str
    core: int | None
    environments: Path
    tools_only: Path

    @asynccontextmanager
    async def server(self, contestant: Contestant) -> AsyncGenerator[ServerUnderTest]:
        """Start a server whose database has the table already."""
        module = f"tools.benchmarks.{contestant.module}"
        arguments = (module, "--application", contestant.application, "--filled")
        if contestant.peer is None:
            starting = server_under_test(self.url, self.core, *arguments)
        else:
            # Without -P the interpreter would look in the current folder first. The published library has this
            # library's name, so it would not be found.
            python = (str(self.environments / contestant.peer / "bin" / "python"), "-P")
            starting = server_under_test(
                self.url, self.core, *arguments, python=python, variables={"PYTHONPATH": str(self.tools_only)}
            )
        async with starting as server:
            yield server


@contextmanager
def tools_only() -> Generator[Path]:
    """Give a folder that has the package ``tools`` and nothing else of this project."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        (Path(folder) / "tools").symlink_to(REPOSITORY / "tools")
        yield Path(folder)


def missing_environments(environments: Path, contestants: list[Contestant]) -> list[str]:
    """Return the peers whose environments have not been made."""
    peers = {contestant.peer for contestant in contestants} - {None}
    return sorted(str(peer) for peer in peers if not (environments / str(peer) / "bin" / "python").exists())
