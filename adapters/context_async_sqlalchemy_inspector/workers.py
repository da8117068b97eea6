"""The other workers of a server: each answers for itself on a Unix socket, and the one that is asked reads them all."""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from zlib import crc32

from .service import NotPrivateError, meeting_place, parent_server, private, shared_token
from .state import Json

logger = logging.getLogger("context_async_sqlalchemy")

PATIENCE = 0.2
"""Seconds for which the other workers are waited for."""

_LONGEST_PATH = 100
_MOST_WORKERS = 64
_HAS_SOCKETS = hasattr(socket, "AF_UNIX") and hasattr(os, "geteuid")


class Workers:
    """The workers that serve an application together.

    Args:
        answer: returns the state of this process. The event loop calls it.
        path: the path of the page. Workers meet if they have the same.
        directory: where the workers meet. None means a private directory for the children of one server process.

    """

    def __init__(self, answer: Callable[[], Json], path: str, directory: Path | None = None) -> None:
        self._answer = answer
        self._path = path
        self._directory = directory
        self._socket: Path | None = None
        self._listener: socket.socket | None = None
        self._server: asyncio.Task[asyncio.Server] | None = None
        # Why the page shows one worker of several; None if it shows all, or if there is only one.
        self.note: str | None = None

    def token(self) -> tuple[str, bool] | None:
        """Return the token of all workers, and whether this call has made it; None if this process is alone."""
        meeting = self._meeting_place()
        if meeting is None:
            return None
        try:
            return shared_token(meeting)
        except OSError as error:
            self._stay_alone(str(error))
            return None

    def start(self) -> None:
        """Answer the other workers from now on. The running event loop answers."""
        if self._server is not None:
            return
        meeting = self._meeting_place()
        if meeting is None:
            return
        path = meeting / f"{os.getpid()}-{secrets.token_hex(2)}.sock"
        if len(os.fsencode(path)) > _LONGEST_PATH:
            self._stay_alone(f"the path of its socket would be longer than {_LONGEST_PATH} bytes: {path}")
            return
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            listener.listen()
        except OSError as error:
            listener.close()
            self._stay_alone(f"its socket {path} cannot be opened ({error.strerror})")
            return
        listener.settimeout(0)
        self._socket, self._listener = path, listener
        self._server = asyncio.get_running_loop().create_task(asyncio.start_unix_server(self._serve, sock=listener))

    def stop(self) -> None:
        """Answer no longer."""
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
            self._socket = None
        server, self._server = self._server, None
        if server is not None and not server.cancel():
            server.result().close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def others(self) -> list[Json]:
        """Return the states of the other workers, by process id.

        A worker that does not answer in time is in it with an ``error``; one that has died is left out.
        """
        if self._socket is None:
            return []
        sockets = [path for path in self._socket.parent.glob("*.sock") if path != self._socket]
        answers = await asyncio.gather(*(_ask(path) for path in sorted(sockets)[:_MOST_WORKERS]))
        return sorted((answer for answer in answers if answer is not None), key=lambda answer: int(answer["pid"]))

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(json.dumps(self._answer()).encode())
            # One that asks and does not read is not waited for.
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            writer.close()

    def _meeting_place(self) -> Path | None:
        server = parent_server()
        if self._directory is None and server is None:
            return None
        if not _HAS_SOCKETS:
            self.note = (
                "This is one of several worker processes. The others are not shown, because this platform has no Unix "
                "sockets."
            )
            return None
        try:
            if self._directory is not None:
                return private(self._directory)
            assert server is not None  # noqa: S101 - checked above
            return meeting_place(server, f"{crc32(self._path.encode()):08x}")
        except (NotPrivateError, OSError) as error:
            self._stay_alone(str(error))
            return None

    def _stay_alone(self, reason: str) -> None:
        if self.note is None:
            logger.warning("the inspector shows one worker, and not the others of its server: %s", reason)
        self.note = f"This is one of several worker processes. The others are not shown: {reason}."


async def _ask(path: Path) -> Json | None:
    """Return the state of the worker behind a socket, or None if it has died."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                answered: Any = json.loads(await reader.read())
            finally:
                writer.close()
    except (ConnectionRefusedError, FileNotFoundError):
        _forget(path)
        return None
    except (TimeoutError, OSError, ValueError) as error:
        reason = (
            f"it has not answered within {PATIENCE:g} s, so its event loop is busy or blocked"
            if isinstance(error, TimeoutError)
            else f"its answer cannot be read ({type(error).__name__})"
        )
        return _silent(path, reason)
    return cast("Json", answered) if isinstance(answered, dict) else None


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _silent(path: Path, reason: str) -> Json:
    """Return the state of a worker that has not told its own."""
    pid = int(path.name.partition("-")[0])
    return {
        "pid": pid,
        "name": f"process {pid}",
        "started_at": 0.0,
        "error": reason,
        "pools": [],
        "sessions": {"total": 0, "by_state": {}, "shown": []},
        "finished": {"kept": 0, "shown": []},
        "collected_for": 0.0,
        "routes": [],
        "blocked": None,
        "summary": [],
    }
