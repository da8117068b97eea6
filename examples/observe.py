"""Runs the shop with Prometheus and a trace viewer beside it, as far as they are installed: ``make observe``.

With Docker ``docker compose -f grafana/compose.yaml up --build`` gives the same with Grafana and Jaeger.
"""

import argparse
import contextlib
import html
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlencode
from urllib.request import urlopen

from grafana.builder.overview.now import NOW

HOST = "127.0.0.1"
SHOP_PORT = 8080
PROMETHEUS_PORT = 9090
OTLP_PORT = 4318
_OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_CONFIG = Path(__file__).parents[1] / "grafana" / "prometheus.yml"
_STOP_SECONDS = 10.0
_START_SECONDS = 20.0
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class _Viewer:
    """A program that takes OTLP over HTTP and shows traces.

    Args:
        program: its name.
        arguments: that it is started with.
        port: of its pages.

    """

    program: str
    arguments: tuple[str, ...] = ()
    port: int = OTLP_PORT


_VIEWERS = (
    _Viewer("jaeger", port=16686),
    _Viewer("jaeger-all-in-one", port=16686),
    _Viewer("autotel-devtools", ("--host", HOST, "--port", str(OTLP_PORT), "--grpc-port", "4317")),
)
_INSTALL_PROMETHEUS = "apt-get install --no-install-recommends prometheus"
INSTALL_VIEWER = "npm install --global autotel-devtools@27.1.0 (Node 22.5 or newer), or Jaeger's binary in the PATH"


def main() -> int:
    """Run everything until the load ends, and give the demo's exit status."""
    arguments = _arguments()
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="observe-") as folder, prometheus(Path(folder)), viewer(environment):
        shop = [sys.executable, "-m", "examples.shop", "--port", str(SHOP_PORT), "--duration", arguments.duration]
        print(f"Shop:       http://{HOST}:{SHOP_PORT}/metrics, under load for {arguments.duration} s\n", flush=True)
        with subprocess.Popen(shop, env=environment) as process:  # noqa: S603 - the command is ours
            # It closes what it has opened; when it has, this ends too.
            def stop(_number: int, _frame: FrameType | None) -> None:
                process.send_signal(signal.SIGTERM)

            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, stop)
            return process.wait()


@contextlib.contextmanager
def prometheus(folder: Path) -> Generator[None]:
    """Run Prometheus during the block, if it is installed and its port is free; tell which it is.

    Args:
        folder: for its data.

    """
    url = f"http://{HOST}:{PROMETHEUS_PORT}"
    pages = folder / "pages"
    command = [
        "prometheus",
        f"--config.file={_CONFIG}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{PROMETHEUS_PORT}",
        "--enable-feature=exemplar-storage",
        f"--web.user-assets={pages}",
        "--log.level=warn",
    ]
    if shutil.which("prometheus") is None:
        print(f"Prometheus: not installed. {_INSTALL_PROMETHEUS}")
        yield
    elif is_taken(PROMETHEUS_PORT):
        print(f"Prometheus: {url} is taken by another program, which may scrape the shop with {_CONFIG}")
        yield
    else:
        with started(command, PROMETHEUS_PORT):
            _wait_until_ready(url)
            prefix = _prefix(url)
            # The address of the graphs has 900 characters, so a page of Prometheus leads there.
            pages.mkdir()
            graphs = html.escape(f"{prefix}/graph?{_first_row()}")
            (pages / "overview.html").write_text(f'<meta http-equiv="refresh" content="0; url={graphs}">\n')
            print(f"Prometheus: {url}{prefix}/alerts; the overview's first row: {url}/user/overview.html")
            yield


def _wait_until_ready(url: str) -> None:
    # Prometheus listens before it is ready, and answers all of its pages with 503 until then.
    deadline = time.monotonic() + _START_SECONDS
    while is_taken(PROMETHEUS_PORT) and time.monotonic() < deadline:
        try:
            with urlopen(f"{url}/-/ready"):  # noqa: S310 - it is the one that was started
                return
        except OSError:
            time.sleep(_PAUSE_SECONDS)


def _prefix(url: str) -> str:
    # Debian's package has the classic pages only.
    try:
        with urlopen(f"{url}/alerts"):  # noqa: S310 - it is the one that was started
            return ""
    except OSError:
        return "/classic"


def _first_row() -> str:
    graphs: dict[str, str] = {}
    for number, panel in enumerate(NOW.panels):
        expression = re.sub(r'\w+=~"\$\w+",? ?', "", panel.queries[0].expression).replace("{}", "")
        for variable, value in (("$__rate_interval", "1m"), ("$__range", "10m")):
            expression = expression.replace(variable, value)
        graphs |= {f"g{number}.expr": expression, f"g{number}.tab": "0", f"g{number}.range_input": "10m"}
    return urlencode(graphs)


@contextlib.contextmanager
def viewer(environment: dict[str, str]) -> Generator[None]:
    """Run a trace viewer during the block, if one is installed and wanted; tell which it is.

    Args:
        environment: of the shop; the viewer's endpoint is put into it.

    """
    found = next((each for each in _VIEWERS if shutil.which(each.program)), None)
    if endpoint := environment.get(_OTLP_ENDPOINT):
        print(f"Traces:     go to {endpoint} ({_OTLP_ENDPOINT})")
        yield
    elif found is None:
        print(f"Traces:     no viewer is installed. {INSTALL_VIEWER}")
        yield
    elif is_taken(OTLP_PORT):
        print(f"Traces:     port {OTLP_PORT} is taken by another program; set {_OTLP_ENDPOINT} if that takes them")
        yield
    else:
        with started([found.program, *found.arguments], OTLP_PORT):
            environment[_OTLP_ENDPOINT] = f"http://{HOST}:{OTLP_PORT}"
            print(f"Traces:     http://{HOST}:{found.port} ({found.program})")
            yield


@contextlib.contextmanager
def started(command: Sequence[str], port: int) -> Generator[None]:
    """Run a program during the block, which begins when it listens; tell if it does not.

    Args:
        command: its name and arguments.
        port: that it listens on.

    """
    # A group of its own: Ctrl-C is for the shop, whose last spans and metrics are still wanted; and what is installed
    # may be a script that starts the program proper.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - ours
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not is_taken(port) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        if not is_taken(port):
            print(f"{command[0]} does not answer on port {port}; it was started as: {shlex.join(command)}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(_STOP_SECONDS)


def is_taken(port: int) -> bool:
    """Tell whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.observe", description="The shop, Prometheus and a trace viewer."
    )
    parser.add_argument("--duration", default="600", metavar="SECONDS", help="of the load (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
