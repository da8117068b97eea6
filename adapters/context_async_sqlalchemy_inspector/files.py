"""The files of the page, as they are served below the path of the inspector."""

from functools import cache
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import quote

_CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
_INDEX = "index.html"
_BASE = b"{base}"


class File(NamedTuple):
    """A file of the page.

    Attributes:
        content_type: the value of its header Content-Type.
        body: its content.

    """

    content_type: str
    body: bytes


@cache
def files_of_page() -> dict[str, File]:
    """Return the style sheet and the scripts by their names, which are their paths below that of the inspector."""
    return {name: file for name, file in _all_files().items() if name != _INDEX}


def index(path: str) -> File:
    """Return the page itself, with links that work where the browser sees it.

    Args:
        path: the path that the browser has asked for, with the prefix of a mounted application. Links are relative, so
            that a proxy may add a prefix that the application does not know.

    """
    content_type, body = _all_files()[_INDEX]
    # A relative link starts from the folder of the path: "/_db" is in "/", and "/_db/" is in itself.
    name = path.rpartition("/")[2]
    return File(content_type, body.replace(_BASE, f"{quote(name)}/".encode() if name else b""))


@cache
def _all_files() -> dict[str, File]:
    folder = files(__name__.rpartition(".")[0]).joinpath("page")
    return {
        file.name: File(_CONTENT_TYPES[file.name.rpartition(".")[2]], file.read_bytes())
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
    }
