"""The command that writes the dashboards writes those of the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

from context_async_sqlalchemy_prometheus.dashboards import main, write_dashboards

GRAFANA = Path(__file__).parents[3] / "grafana"


def test_the_command_writes_what_the_checkout_has(tmp_path: Path) -> None:
    folder = tmp_path / "monitoring" / "database"
    command = [sys.executable, "-m", "context_async_sqlalchemy_prometheus.dashboards", str(folder)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - the command is ours
    written = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shipped = [*GRAFANA.glob("dashboards/*.json"), *GRAFANA.glob("alerts/*.yaml"), *GRAFANA.glob("runbooks/*.md")]
    assert written == {path.relative_to(GRAFANA): path.read_bytes() for path in shipped}
    assert shown.splitlines() == [str(path) for path in write_dashboards(folder)]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    dashboard = tmp_path / "dashboards" / "overview.json"
    dashboard.parent.mkdir()
    dashboard.write_text("old")
    write_dashboards(tmp_path)
    assert dashboard.read_bytes() == (GRAFANA / "dashboards" / "overview.json").read_bytes()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(SystemExit, match="1"):
        main([str(taken)])
    assert str(taken) in capsys.readouterr().err
