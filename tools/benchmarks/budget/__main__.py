"""Instructions of standard requests against those that they may take. They hardly depend on the machine's load.

A budget holds for one build of CPython and for the versions of the packages below. Elsewhere nothing is checked.

python -m tools.benchmarks.budget
"""

import argparse
import asyncio
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.benchmarks.budget.count import Standard, count
from tools.local_postgres import database_server

BUDGET = Path(__file__).with_name("budget.json")

TOLERANCE = 0.03
"""How much more than its budget a request may take."""

PACKAGES = (
    "aiohttp", "asyncpg", "greenlet", "httptools", "opentelemetry-sdk", "prometheus-client", "sanic", "sqlalchemy",
    "starlette", "uvicorn", "uvloop",
)  # fmt: skip

STANDARD: dict[str, Standard] = {
    "aiohttp, bare": Standard("aiohttp", "unobserved"),
    "aiohttp, metrics": Standard("aiohttp", "measured"),
    "aiohttp, traced": Standard("aiohttp", "all_spans"),
    "aiohttp, no database": Standard("aiohttp", "measured", "/nothing"),
    "Sanic, bare": Standard("sanic", "unobserved"),
    "Sanic, metrics": Standard("sanic", "measured"),
    "Sanic, no database": Standard("sanic", "measured", "/nothing"),
    "Starlette, bare": Standard("starlette", "unobserved"),
    "Starlette, metrics": Standard("starlette", "measured"),
    "Starlette, no database": Standard("starlette", "measured", "/nothing"),
}


def machine() -> dict[str, str]:
    """Return everything that the counts depend on, beside the code of the library."""
    return {"python": sys.version, "machine": platform.machine(), **{name: version(name) for name in PACKAGES}}


def _counted(names: Iterable[str]) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder, database_server() as url:
        return asyncio.run(count({name: STANDARD[name] for name in names}, url, Path(folder)))


def _beyond(counts: Mapping[str, int], budget: Mapping[str, int]) -> list[str]:
    return [name for name, instructions in counts.items() if instructions > budget[name] * (1 + TOLERANCE)]


def main() -> None:
    """Count, print, and exit with status 1 if a request takes more than its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what is counted as the budget of this machine")
    parser.add_argument("--file", type=Path, default=BUDGET, help="instead of the project's budget")
    parser.add_argument("names", nargs="*", help="requests, instead of all")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("The budget is not checked: there is no valgrind here.")
        return
    file: Path = arguments.file
    budget: dict[str, dict[str, Any]] = (
        json.loads(file.read_text()) if file.exists() else {"machine": {}, "instructions": {}}
    )
    here = machine()
    others = sorted(name for name, value in here.items() if budget["machine"].get(name) != value)
    if others and not arguments.write:
        print(
            f"The budget is not checked, because it is of another {', '.join(others)}."
            " make budget BUDGET=--write makes one for this machine."
        )
        return
    counts = _counted(arguments.names or STANDARD)
    if arguments.write:
        file.write_text(json.dumps({"machine": here, "instructions": counts}, indent=2) + "\n")
        return
    known: dict[str, int] = budget["instructions"]
    if beyond := _beyond(counts, known):
        # What else happens in the process only ever adds to a count, so the smaller of two is the better.
        counts |= {name: min(counts[name], again) for name, again in _counted(beyond).items()}
    print(f"{'instructions of':24}{'a request':>12}{'budget':>12}")
    for name, instructions in counts.items():
        print(f"{name:24}{instructions:12,}{known[name]:12,}{instructions / known[name] - 1:+8.1%}")
    if beyond := _beyond(counts, known):
        sys.exit(
            f"More than {TOLERANCE:.0%} above the budget: {', '.join(beyond)}. If the change is worth it, say why in"
            " its message, and raise the budget: make budget BUDGET=--write"
        )


if __name__ == "__main__":
    main()
