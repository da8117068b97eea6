"""docs/help/troubleshooting.md: the messages of the library that it quotes are in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/help/troubleshooting.md").read_text()
# The words of SQLAlchemy, PostgreSQL, Python and pytest.
OF_OTHERS = {
    "QueuePool limit of size",
    "FATAL: sorry, too many clients already",
    "cannot import name 'setup_db'",
    "greenlet_spawn has not been called",
    "This session is provisioning a new connection; concurrent operations are not permitted",
    'prepared statement "…" does not exist',
    "async def functions are not natively supported",
}


def _texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file. A value within a text is an ellipsis."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.ClassDef):
            yield node.name


def test_every_quoted_message_is_in_the_code() -> None:
    quoted = {
        text for heading in re.findall(r"^### (.+)$", PAGE, re.MULTILINE) for text in re.findall(r"`(.+?)`", heading)
    }
    assert len(quoted) > 25
    assert quoted >= OF_OTHERS
    folders = ROOT / "context_async_sqlalchemy", ROOT / "adapters"
    code = "\n".join(text for folder in folders for path in folder.rglob("*.py") for text in _texts(path))
    assert sorted(text for text in quoted - OF_OTHERS if text not in code) == []
