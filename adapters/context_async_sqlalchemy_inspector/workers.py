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
from .state import VERSION, Json
from .tokens import TOKEN_VARIABLE

logger = logging.getLogger("context_async_sqlalchemy")

PATIENCE = 0.2
"""Seconds for which the other workers are waited for."""

_OWN_TOKENS = f" Each worker has made a token of its own: set {TOKEN_VARIABLE}, or pass token=."
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
        self._remedy = ""

    def token(self) -> tuple[str, bool] | None:
        """Return the token of all workers, and whether this call has made it; None if this process is alone."""
        try:
            meeting = self._meeting_place()
            if meeting is None:
                return None
            return shared_token(meeting, outlives_service=self._directory is not None)
        except (NotPrivateError, OSError) as error:
            self._remedy = _OWN_TOKENS
            self._stay_alone(str(error))
            return None

    def start(self) -> None:
        """Answer the other workers from now on. The running event loop answers.

        A second call does nothing, unless the socket is gone, because a program that cleans up has removed it.
        """
        if self._socket is not None:
            if self._socket.exists():
                return
            self.stop()
        try:
            meeting = self._meeting_place()
        except (NotPrivateError, OSError) as error:
            self._stay_alone(str(error))
            return
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
        self._server.add_done_callback(self._started)

    def stop(self) -> None:
        """Answer no longer."""
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
            self._socket = None
        server, self._server = self._server, None
        if server is not None and not server.cancel() and _error_of(server) is None:
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
        sockets = [
            path for path in self._socket.parent.glob("*.sock") if path != self._socket and _pid_of(path).isdecimal()
        ]
        answers = await asyncio.gather(*(_ask(path) for path in sorted(sockets)[:_MOST_WORKERS]))
        return sorted((answer for answer in answers if answer is not None), key=lambda answer: int(answer["pid"]))

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(json.dumps({"version": VERSION, "worker": self._answer()}).encode())
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
            raise OSError("this platform has no Unix sockets")
        if self._directory is not None:
            return private(self._directory)
        assert server is not None  # noqa: S101 - checked above
        return meeting_place(server, f"{crc32(self._path.encode()):08x}")

    def _started(self, server: asyncio.Task[asyncio.Server]) -> None:
        if server.cancelled():
            return
        error = server.exception()
        if error is None:
            self.note = None
        else:
            self._stay_alone(f"its socket cannot be served ({error})")

    def _stay_alone(self, reason: str) -> None:
        if self.note is None:
            logger.warning(
                "the inspector shows one worker, and not the others of its server: %s.%s", reason, self._remedy
            )
        self.note = f"This is one of several worker processes. The others are not shown: {reason}.{self._remedy}"


def _error_of(server: asyncio.Task[asyncio.Server]) -> BaseException | None:
    """Return why a task has given no server."""
    return asyncio.CancelledError() if server.cancelled() else server.exception()


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
    if not isinstance(answered, dict) or cast("Json", answered).get("version") != VERSION:
        return _silent(path, "it runs another version of the inspector: start all workers again")
    return cast("Json", answered["worker"])


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _pid_of(path: Path) -> str:
    return path.name.partition("-")[0]


def _silent(path: Path, reason: str) -> Json:
    """Return the state of a worker that has not told its own."""
    pid = int(_pid_of(path))
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
