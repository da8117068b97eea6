"""What ``make observe`` finds, starts, stops, and says of what is missing."""

import html
import re
import shutil
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from examples import observe
from tests.support.ports import free_port
from tests.support.waiting import until


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that is all of the PATH, and have nothing listen anywhere."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(observe, "PROMETHEUS_PORT", free_port())
    monkeypatch.setattr(observe, "OTLP_PORT", free_port())
    return tmp_path


def _install(folder: Path, name: str, code: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o755)


def test_what_is_missing_is_told_with_the_remedy(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment: dict[str, str] = {}
    with observe.prometheus(programs), observe.viewer(environment):
        shown = capsys.readouterr().out
    assert "Prometheus: not installed. apt-get install --no-install-recommends prometheus" in shown
    assert "no viewer is installed. npm install --global autotel-devtools@" in shown
    assert environment == {}


async def test_an_installed_viewer_is_started_gets_the_traces_and_is_stopped(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = observe.OTLP_PORT
    # As npm's and pip's are: a script that starts the program.
    serve = f"import http.server as s; s.test(s.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"
    _install(programs, "jaeger", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {serve!r}])")
    environment: dict[str, str] = {}
    with observe.viewer(environment):
        assert observe.is_taken(port)
    assert environment == {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    assert "Traces:     http://127.0.0.1:16686 (jaeger)" in capsys.readouterr().out
    await until(lambda: not observe.is_taken(port), "the viewer ends")


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")
def test_the_first_row_of_the_overview_has_a_short_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(observe, "PROMETHEUS_PORT", free_port())
    with observe.prometheus(tmp_path):
        shown = capsys.readouterr().out
        alerts, overview = re.findall(r"http://[^; \n]+", shown)
        assert len(shown) < 120
        with urlopen(alerts) as page:  # noqa: S310 - it is the Prometheus that was started
            assert page.status == 200
        with urlopen(overview) as page:  # noqa: S310 - it is the Prometheus that was started
            (graphs,) = re.findall(r'url=([^"]+)"', page.read().decode())
        with urlopen(f"http://127.0.0.1:{observe.PROMETHEUS_PORT}{html.unescape(graphs)}") as page:
            assert page.status == 200
    assert "g0.expr=max+by" in graphs


def test_a_program_that_does_not_start_is_told(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _install(programs, "prometheus", "raise SystemExit(1)")
    with observe.prometheus(programs):
        pass
    assert f"prometheus does not answer on port {observe.PROMETHEUS_PORT}; it was started as" in capsys.readouterr().out


def test_an_endpoint_of_the_users_gets_the_traces(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    with observe.viewer(environment):
        assert "Traces:     go to http://collector:4318" in capsys.readouterr().out
