"""docs/decisions/: the index has every page, and the pointers of the code lead to a page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs/decisions"
PAGES = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
SECTIONS = ["Context", "Decision", "Measurement", "What would change our mind"]


def test_the_index_has_every_page_once() -> None:
    index = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \|", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    assert index == [(page.name[:4], page.name) for page in PAGES]


def test_the_numbers_have_no_gap() -> None:
    assert [page.name[:4] for page in PAGES] == [f"{number:04}" for number in range(1, len(PAGES) + 1)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem[:4])
def test_a_page_has_the_sections_that_the_index_promises(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


def test_every_decision_that_the_code_names_exists() -> None:
    numbers = {page.name[:4] for page in PAGES}
    sources = [path for folder in ("context_async_sqlalchemy", "adapters") for path in (ROOT / folder).rglob("*.py")]
    named = {path.name: set(re.findall(r"docs/decisions/(\d+)", path.read_text())) for path in sources}
    assert {name: pages - numbers for name, pages in named.items() if pages - numbers} == {}
