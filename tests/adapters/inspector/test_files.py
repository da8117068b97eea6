"""The page loads nothing from elsewhere, has nothing inline, and its links work at every path."""

import re
from urllib.parse import urljoin

import pytest

from context_async_sqlalchemy_inspector.files import files_of_page, index


@pytest.mark.parametrize("path", ["/_db", "/_db/", "/shop/internal/_db", "/shop/internal/_db/", "/a%22b", "/ü"])
def test_links_lead_below_the_path_with_and_without_its_last_slash(path: str) -> None:
    links = re.findall(r'(?:href|src)="([^"]+)"', index(path).body.decode())
    reached = {urljoin(f"http://shop{path}", link) for link in links if not link.startswith("data:")}
    base = urljoin("http://shop/", path.rstrip("/")).replace("ü", "%C3%BC").replace("%22", "%2522")
    assert reached == {f"{base}/{name}" for name in ("style.css", "app.js", "state.json")}


def test_the_browser_gets_the_types_that_nosniff_asks_for() -> None:
    types = {name.rpartition(".")[2]: file.content_type for name, file in files_of_page().items()}
    assert types == {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
    assert index("/_db").content_type == "text/html; charset=utf-8"


def test_each_module_that_a_script_imports_is_served() -> None:
    files = files_of_page()
    imported = {
        name
        for file in files.values()
        for name in re.findall(r'^(?:import|export) .* from "\./(.+)";$', file.body.decode(), re.MULTILINE)
    }
    assert {"app.js", "style.css", *imported} == set(files)


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = index("/_db").body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)|javascript:", page)
    everything = page + "".join(file.body.decode() for file in files_of_page().values())
    assert set(re.findall(r"https?://[\w.]+", everything)) == {"http://www.w3.org"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", everything)
