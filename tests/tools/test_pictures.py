"""``make pictures`` says what it lacks; its pictures are small, and there where the documentation has them."""

import re
from pathlib import Path

import pytest

from examples import observe
from tools.pictures import __main__ as pictures

ROOT = Path(__file__).parents[2]
LARGEST = 300_000


def test_all_that_is_missing_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pictures.main() == 2
    told = capsys.readouterr().err
    assert "prometheus is missing: apt-get install --no-install-recommends prometheus" in told
    assert "chromium is missing: apt-get install --no-install-recommends chromium" in told
    assert "autotel-devtools is missing: make pictures installs it" in told


def test_the_viewer_is_the_one_that_make_observe_recommends() -> None:
    (version,) = re.findall(r"autotel-devtools@([\d.]+)", observe.INSTALL_VIEWER)
    assert f'"autotel-devtools": "{version}"' in (ROOT / "tools" / "pictures" / "package.json").read_text()


@pytest.mark.parametrize(
    ("document", "pictures"),
    [
        ("README.md", 1),
        ("docs/pictures.md", 2),
        ("docs/how-to/use-dashboards-and-alerts.md", 1),
        ("docs/how-to/send-traces.md", 1),
        ("docs/how-to/inspector.md", 1),
        ("docs/explanation/costs.md", 1),
    ],
)
def test_pictures_of_the_documentation_are_there_and_small(document: str, pictures: int) -> None:
    path = ROOT / document
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", path.read_text())
    assert len(linked) == pictures
    for link in linked:
        assert 0 < (path.parent / link).stat().st_size < LARGEST
