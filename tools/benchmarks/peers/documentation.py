"""The page of the documentation that has what was measured."""

from tools.benchmarks.peers.contestants import REPOSITORY
from tools.benchmarks.peers.results import HEADING, Measured, table

PAGE = REPOSITORY / "docs" / "explanation" / "costs.md"
PICTURE = REPOSITORY / "docs" / "pictures" / "costs.png"


def with_table(page: str, measured: Measured) -> str:
    """Return a page with the table of a run in the place of the table that it has.

    Raises:
        ValueError: the page has no such table.

    """
    lines = page.splitlines()
    begin = lines.index(HEADING)
    end = next(number for number in range(begin, len(lines) + 1) if not "".join(lines[number : number + 1]))
    return "\n".join([*lines[:begin], table(list(measured.groups.values())), *lines[end:], ""])
