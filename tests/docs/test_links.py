"""Links of the pages: those into the repository lead somewhere, and a package page has none that lead nowhere."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for pattern in ("*.md", "docs/**/*.md", "grafana/**/*.md") for path in ROOT.glob(pattern))
INVENTORIES = sorted((ROOT / "docs/inventories").glob("*.txt"))


def _links(text: str) -> Iterator[str]:
    """Yield the targets of a text's links, those of its images and those between angle brackets included."""
    without_code = re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL)
    yield from re.findall(r"\]\(<?([^)\s>]+)", without_code)
    yield from re.findall(r"^\[[^\]]+\]: (\S+)", without_code, re.MULTILINE)
    yield from re.findall(r"<(\w+:[^>\s]+)>", without_code)


def _is_external(target: str) -> bool:
    return re.match(r"[a-z]+:", target) is not None


def _leads_somewhere(document: Path, target: str) -> bool:
    path, _, heading = target.partition("#")
    file = document.parent / path if path else document
    return file.exists() and (not heading or heading in _anchors(file))


def _anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_into_the_repository_leads_somewhere(document: Path) -> None:
    inner = [target for target in _links(document.read_text()) if not _is_external(target)]
    assert [target for target in inner if not _leads_somewhere(document, target)] == []


def test_every_link_to_another_site_is_https() -> None:
    # `make links` follows them, which needs a network.
    outer = {target for document in DOCUMENTS for target in _links(document.read_text()) if _is_external(target)}
    assert outer
    for target in outer - {"mailto:"}:
        address = urlsplit(target)
        assert address.scheme == "https", target
        assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", address.netloc), target


def test_the_package_page_has_no_link_and_no_picture_of_the_repository() -> None:
    page = ProjectMetadata(str(ROOT), PluginManager()).core.readme
    assert "`docs/how-to/run-the-demo.md`" in page
    assert [target for target in _links(page) if not _is_external(target)] == []
    assert re.findall(r"!\[|<img|<!--", page) == []


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.stem)
def test_an_inventory_has_names_that_exist(inventory: Path) -> None:
    title, project, version, *lines = inventory.read_text().splitlines()
    assert title == "# Sphinx inventory version 1"
    assert project.startswith("# Project: ")
    assert version.startswith("# Version: ")
    assert lines == sorted(lines)
    for line in lines:
        name, kind, _page = line.split(" ")
        assert kind in {"class", "exception"}
        module, _, attribute = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), attribute), type)
