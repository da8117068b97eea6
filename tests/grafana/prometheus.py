"""A real Prometheus, and its API."""

import json
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.grafana import shipped
from tests.support.ports import free_port

SCRAPE_SECONDS = 1
_READY_SECONDS = 20.0
_HOST = "127.0.0.1"


class Prometheus:
    """The API of a Prometheus that runs.

    Args:
        url: where it is.

    """

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str | float) -> Any:
        """Ask for something.

        Raises:
            AssertionError: Prometheus says that the request is wrong.

        """
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def values(self, expression: str, start: float, end: float) -> list[float]:
        """Execute a query at each second of a time, and give every value of every series."""
        found = self.get("query_range", query=expression, start=start, end=end, step=SCRAPE_SECONDS)
        return [float(value) for series in found["result"] for _, value in series["values"]]

    def is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=1):  # noqa: S310 - it is the one that was started
                return True
        except (URLError, OSError):
            return False


@contextmanager
def running(program: str, folder: Path, target: str) -> Generator[Prometheus]:
    """Run a Prometheus with the shipped configuration, on another target and each second.

    Args:
        program: the path of prometheus.
        folder: for its data.
        target: host and port of the application.

    """
    config = yaml.safe_load(shipped.PROMETHEUS_CONFIG.read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    config["rule_files"] = [str(path) for path in shipped.ALERTS]
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": [target]}]
    config_file = folder / "prometheus.yml"
    config_file.write_text(yaml.safe_dump(config))
    address = f"{_HOST}:{free_port()}"
    command = [
        program,
        f"--config.file={config_file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 - the command is ours
    try:
        server = Prometheus(f"http://{address}")
        deadline = time.monotonic() + _READY_SECONDS
        while not server.is_ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"Prometheus is not ready:\n{log.read_text()}"
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait(10)
