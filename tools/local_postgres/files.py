"""What one server has on disk, and its programs, run under the identity that owns it."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from tools.local_postgres.binaries import Binaries
from tools.local_postgres.privileges import Privileges

_LOG_LINES = 20


@dataclass(frozen=True)
class Files:
    """The places of one server.

    Args:
        programs: the directory of the PostgreSQL programs.
        data: the data directory; empty until somebody makes a cluster in it.
        log: what the program that ran last has said.
        privileges: how the programs are run.

    """

    programs: Path
    data: Path
    log: Path
    privileges: Privileges

    @classmethod
    def prepare(cls, directory: Path, binaries: Binaries, privileges: Privileges) -> Self:
        """Make an empty data directory that the identity owns.

        Args:
            directory: an existing directory for everything.
            binaries: the programs; copied there if the identity cannot reach them.
            privileges: how they are run.

        """
        programs = privileges.executable(binaries, directory).directory
        data = directory / "data"
        data.mkdir(mode=0o700)
        privileges.hand_over(data)
        return cls(programs, data, directory / "log", privileges)

    def spawn(
        self,
        program: str,
        arguments: Sequence[str],
        output: int | IO[bytes],
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one of the programs; see :meth:`Privileges.spawn`."""
        return self.privileges.spawn([str(self.programs / program), *arguments], output, environment)

    def open_log(self) -> IO[bytes]:
        """Begin the log anew; only its owner reads it, because statements are in it."""
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")

    def write_private(self, name: str, text: str) -> Path:
        """Write a file that the identity alone reads.

        Args:
            name: the name of a new file, beside the data directory.
            text: its content.

        """
        path = self.data.with_name(name)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        self.privileges.hand_over(path)
        return path

    def tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
