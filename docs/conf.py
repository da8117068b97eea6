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

# The inventories of other projects need a network, and a build must not. The links are text without them.
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "sqlalchemy": ("https://docs.sqlalchemy.org/en/21", None),
        "aiohttp": ("https://docs.aiohttp.org/en/stable", None),
        "opentelemetry": ("https://opentelemetry-python.readthedocs.io/en/latest", None),
    }
    if os.environ.get("DOCS_INTERSPHINX")
    else {}
)


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
