"""Does what a page tells its reader: saves files, types commands, and compares what is printed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
ANSWER_SECONDS = 30.0
STOP_SECONDS = 15.0
_SERVERS = ("python shop.py", "python traced_shop.py", "uvicorn ", "sanic ", "gunicorn ")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """A reader who follows a page.

    Args:
        folder: the folder that the reader works in.
        port: the port of the page. It is replaced by a free one.

    """

    folder: Path
    port: str = "8080"
    _free_port: str = field(default_factory=lambda: str(free_port()))
    _printed: list[str] = field(default_factory=list[str])
    _server: subprocess.Popen[bytes] | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def follow(self, text: str) -> int:
        """Do all steps of a page, and return how many there were."""
        steps = list(self._steps(text))
        with self._stack:
            self._stack.callback(self._stop_server)
            for before, language, code in steps:
                self._do(before, language, code)
        assert self._printed == [], f"the page does not say what is printed: {self._printed}"
        return len(steps)

    def _steps(self, text: str) -> Iterator[tuple[str, str, str]]:
        end = 0
        for match in _FENCE.finditer(text.replace(self.port, self._free_port)):
            before = match.string[end : match.start()].strip().rpartition("\n\n")[2]
            yield before, match[1], match[2]
            end = match.end()

    def _do(self, before: str, language: str, code: str) -> None:
        if language == "sh":
            for command in code.splitlines():
                self.type(command)
        elif language == "text" and before == "The server prints:":
            self._await_of_server(code)
        elif language == "text":
            printed = "\n".join(self._printed)
            assert re.fullmatch(_pattern(code), printed, re.DOTALL), f"{printed}\n-- and not --\n{code}"
            self._printed.clear()
        else:
            (name,) = re.findall(r"[Ss]ave this (?:there )?as `([\w.]+)`", before)
            (self.folder / name).write_text(code)

    def type(self, command: str) -> None:
        """Type a command into the terminal, and wait for its end, or for the server that it starts."""
        if command.startswith("pip install"):
            return  # tests/docs/test_readme.py checks the extras.
        if command.startswith(_SERVERS):
            self._stop_server()
            self._start_server(command)
            return
        ended = subprocess.run(  # noqa: S603 - the pages are ours
            ["/bin/bash", "-c", command],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}{self._log()}"
        self._printed.extend(ended.stdout.rstrip().splitlines())

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return environment | {"PATH": path, "PYTHONUNBUFFERED": "1"}

    def _start_server(self, command: str) -> None:
        log = self._stack.enter_context((self.folder / "log").open("wb"))
        self._server = subprocess.Popen(  # noqa: S603 - the pages are ours
            ["/bin/bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self._environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait = f"until curl -s -o /dev/null localhost:{self._free_port}/orders; do sleep 0.05; done"
        subprocess.run(["/bin/bash", "-c", wait], timeout=ANSWER_SECONDS, check=True)  # noqa: S603

    def _stop_server(self) -> None:
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # Sanic may miss a SIGTERM that comes while its workers start. This is not the page's fault.
                os.killpg(self._server.pid, signal.SIGKILL)
                self._server.wait(STOP_SECONDS)
            self._server = None

    def _log(self) -> str:
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""

    def _await_of_server(self, expected: str) -> None:
        self._printed.clear()  # of the request, which the page has shown before
        pattern = re.compile(_pattern(expected), re.DOTALL)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not pattern.search(self._log()):
            assert time.monotonic() < deadline, f"{self._log()}\n-- has not --\n{expected}"
            time.sleep(0.05)


def _pattern(expected: str) -> str:
    """Return a pattern for a text in which an ellipsis stands for the rest of a line, or a part of it."""
    lines = (re.sub(r"(\\ )+", r"\\s+", re.escape(line)).replace("…", "[^\n]*") for line in expected.splitlines())
    return "\n".join(lines)
