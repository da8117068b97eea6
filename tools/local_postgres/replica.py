"""A streaming replica of a running server, which can take its place."""

import secrets
import subprocess
from collections.abc import Mapping

from tools.local_postgres.files import Files
from tools.local_postgres.server import PostgresServer

_PROMOTE_TIMEOUT_SECONDS = 30.0


class PostgresReplica(PostgresServer):
    """A server that follows another one, and answers reads meanwhile.

    It streams through a replication slot of its own, so the primary keeps what it has not got yet. It is synchronous
    if the primary was started with ``SYNCHRONOUS_REPLICATION``; else commits do not wait for it.

    Args:
        primary: a running server of this machine.
        settings: as those of ``PostgresServer``, but on top of the primary's: a replica has to have at least its
            ``max_connections``.

    """

    def __init__(self, primary: PostgresServer, settings: Mapping[str, str] | None = None) -> None:
        # Once promoted it has no replica of its own to wait for.
        super().__init__({**primary.settings, "synchronous_standby_names": "", **(settings or {})})
        self._primary = primary
        # Accounts are copied with the data.
        self._password = primary.password

    def promote(self) -> None:
        """Make it a primary: when this returns it takes writes.

        Raises:
            RuntimeError: it is not running, or is a primary already.

        """
        if self._files is None:
            raise RuntimeError("This server is not running: it cannot be promoted.")
        arguments = ["promote", f"--pgdata={self._files.data}", "--wait", f"--timeout={_PROMOTE_TIMEOUT_SECONDS:g}"]
        with self._files.spawn("pg_ctl", arguments, subprocess.PIPE) as process:
            said = b"".join(process.communicate())
        if process.returncode != 0:
            raise RuntimeError(f"The replica was not promoted: {said.decode(errors='replace').strip()}")

    def _make_cluster(self, files: Files) -> None:
        host, port = self._primary.address
        arguments = [f"--host={host}", f"--port={port}", "--username=postgres", f"--pgdata={files.data}"]
        arguments += ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        arguments += ["--create-slot", f"--slot=replica_{secrets.token_hex(4)}"]
        # It also writes the password into the data directory, for the replica's own connections to its primary.
        self._run(files, "pg_basebackup", arguments, {"PGPASSWORD": self.password})
