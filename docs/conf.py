"""Sphinx: builds the documentation with MyST and Furo, without a network. ``make docs`` runs it."""

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
_REPOSITORY = _PROJECT.get("urls", {}).get("Repository")

project = _PROJECT["name"]
release = metadata.version(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]
# index.md includes README.md, which is the index on a page of the repository.
exclude_patterns = ["README.md", "requirements.lock"]

html_theme = "furo"
html_title = project
html_show_copyright = False

myst_heading_anchors = 4
# A picture in Mermaid is a plain fence, so that it is a picture on a page of the repository too.
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
autodoc_class_signature = "separated"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_FOREIGN = {
    "python": "https://docs.python.org/3",
    "sqlalchemy": "https://docs.sqlalchemy.org/en/21",
    "aiohttp": "https://docs.aiohttp.org/en/stable",
    "opentelemetry": "https://opentelemetry-python.readthedocs.io/en/latest",
}
# A build has no network, so inventories/ lists the foreign names that our signatures may have. DOCS_INTERSPHINX=1 asks
# for the projects' own inventories, and so finds a name that has moved.
intersphinx_mapping = {
    name: (address, None if os.environ.get("DOCS_INTERSPHINX") else f"inventories/{name}.txt")
    for name, address in _FOREIGN.items()
}
# A signature has the module that defines a class, and the foreign manual has the module that offers it.
_OFFERED_AS = {
    "_asyncio.Future": "asyncio.Future",
    "_asyncio.Task": "asyncio.Task",
    "asyncio.events.AbstractEventLoop": "asyncio.AbstractEventLoop",
    "aiohttp.web_app.Application": "aiohttp.web.Application",
    "sqlalchemy.engine.url.URL": "sqlalchemy.engine.URL",
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": "sqlalchemy.ext.asyncio.AsyncConnection",
    "sqlalchemy.ext.asyncio.engine.AsyncEngine": "sqlalchemy.ext.asyncio.AsyncEngine",
    "sqlalchemy.ext.asyncio.session.AsyncSession": "sqlalchemy.ext.asyncio.AsyncSession",
    "sqlalchemy.ext.asyncio.session.async_sessionmaker": "sqlalchemy.ext.asyncio.async_sessionmaker",
}
# A name without a target is an error where the projects' own inventories are known: in `make links`, which runs weekly.
# Elsewhere it stays text.
nitpicky = bool(os.environ.get("DOCS_INTERSPHINX"))
nitpick_ignore = [
    # The manuals of these projects have no inventory.
    ("py:class", "prometheus_client.registry.CollectorRegistry"),
    ("py:class", "sanic.app.Sanic"),
    ("py:class", "starlette.applications.Starlette"),
    # Types that a signature shows and that are not public.
    ("py:class", "P"),
    ("py:class", "context_async_sqlalchemy.retry.T"),
    ("py:class", "context_async_sqlalchemy.run_in_new_context.T"),
    ("py:class", "context_async_sqlalchemy._setup.FrameworkOptions"),
    ("py:class", "context_async_sqlalchemy.adapter_kit.metrics_access.ScrapeAnswer"),
]
# Sphinx splits an alias of a Literal at its commas.
nitpick_ignore_regex = [("py:obj", r"typing\.Literal\[.*")]

# It answers programs with 403.
linkcheck_ignore = [r"https://www\.npmjs\.com/"]


def _by_offered_name(_app: Any, _env: Any, node: Any, _content: Any) -> None:
    """Give a reference the name that the foreign manual has. Intersphinx looks for it afterwards."""
    node["reftarget"] = _OFFERED_AS.get(node["reftarget"], node["reftarget"])


_LINK_OUT = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s#]+)(#[^)\s]*)?\)")


def _links_out_of_docs(app: Any, docname: str, source: list[str]) -> None:
    """Lead links to files that are no pages to the repository. If its address is not known, leave their text."""
    folder = Path(app.srcdir, docname).parent

    def resolve(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = (folder / target).resolve()
        if path.is_relative_to(app.srcdir):
            return link.group()
        if _REPOSITORY:
            return f"[{text}]({_REPOSITORY}/blob/main/{path.relative_to(_ROOT)}{anchor or ''})"
        # Sphinx offers other files for a download.
        return link.group() if path.is_file() and path.suffix != ".md" else str(text)

    source[0] = _LINK_OUT.sub(resolve, source[0])


def setup(app: Any) -> None:
    """Add to the build. Sphinx calls this."""
    app.connect("source-read", _links_out_of_docs)
    app.connect("missing-reference", _by_offered_name, priority=400)  # Intersphinx has 500.
