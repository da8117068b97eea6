"""The state as text for a terminal, drawn by rich."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .durations import written
from .summary import limit_of

Json = Mapping[str, Any]

_BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN_SECONDS = 30
_MOST_ROUTES = 5
_STYLES = {"waiting": "bold red", "full": "yellow", "calm": "green"}
_STATE_STYLES = {"waiting": "red", "held idle": "yellow", "querying": "blue"}
_RANKS = {"waiting": 0, "full": 1, "calm": 2}
_FEWEST_SESSIONS = 3
_AROUND_SESSIONS = 8
"""Lines of titles and headings around the tables, beside their rows."""


def draw(state: Json, words: str = "", height: int | None = None, problem: str = "") -> RenderableType:
    """Return what the terminal shows of a state.

    Args:
        state: the content of ``state.json``.
        words: only sessions and routes with all of these words are shown.
        height: the lines of the terminal. If None, all sessions are shown.
        problem: why the state is not up to date, if it is not.

    """
    workers = state["workers"]
    many = len(workers) > 1
    pools = [(worker, pool) for worker in workers for pool in worker["pools"]]
    matching = _matcher(words)
    sessions = [(worker, one) for worker in workers for one in worker["sessions"]["shown"] if matching(worker, one)]
    sessions.sort(key=lambda item: _longest_held(item[1]), reverse=True)
    routes = [(worker, route) for worker in workers for route in worker["routes"] if matching(worker, route)]
    routes.sort(key=lambda item: item[1]["held_idle"], reverse=True)
    summary = list(_summary(workers, many=many))
    if note := state.get("note"):
        summary.append(Text(visible(note), "yellow"))
    if problem:
        summary.insert(0, Text(visible(problem), "bold red"))
    shown = sessions
    if height is not None:
        others = len(summary) + len(pools) + min(len(routes), _MOST_ROUTES) + _AROUND_SESSIONS
        shown = sessions[: max(height - others, _FEWEST_SESSIONS)]
    return Group(
        *summary,
        _pools(pools, many=many),
        _sessions(shown, _title(workers, len(shown)), many=many),
        _routes(routes[:_MOST_ROUTES], many=many),
    )


def visible(text: str) -> str:
    """Return a text whose control characters are escaped, so that a name cannot steer the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _summary(workers: Iterable[Json], *, many: bool) -> Iterator[Text]:
    lines: list[tuple[str, str, str]] = []
    for worker in workers:
        place = f"{worker['name']}, " if many else ""
        if worker["error"]:
            lines.append(("full", f"{place}{worker['error']}", ""))
        lines += [(line["level"], f"{place}{line['text']}", line["holder"]) for line in worker["summary"]]
    for level, text, holder in sorted(lines, key=lambda line: _RANKS[line[0]]):
        line = Text(visible(text), _STYLES[level])
        if holder:
            line.append(f"; {visible(holder)}", "default")
        yield line


def _pools(pools: Iterable[tuple[Json, Json]], *, many: bool) -> Table:
    table = _table("Pools", ["Pool", "Server"], ["In use", "Idle", "Waiting", "Peak", "Last 30 s"], many=many)
    for worker, pool in pools:
        limit = limit_of(pool)
        used = f"{pool['used']}" if limit is None else f"{pool['used']} of {limit}"
        peak = f"{pool['peak_used']}, {pool['peak_waiting']} waiting"
        numbers = [used, f"{pool['idle']}", f"{pool['waiting']}", peak, _sparkline(pool, limit)]
        _add(table, worker, [pool["name"], pool["server"] or "", *numbers], many=many)
    return table


def _sparkline(pool: Json, limit: int | None) -> str:
    """Draw the connections in use; the sessions that wait count too, up to the limit again."""
    history = [used + waiting for used, waiting in pool["history"][-_SHOWN_SECONDS:]]
    top = max([limit or 1, *history]) if limit is None else 2 * limit
    return "".join(_BLOCKS[min(value * len(_BLOCKS) // top, len(_BLOCKS) - 1)] for value in history)


def _sessions(sessions: Iterable[tuple[Json, Json]], title: str, *, many: bool) -> Table:
    numbers = ["Age", "Held", "Idle", "Tx", "Stmts", "Backend"]
    table = _table(title, ["Route", "State", "Awaits"], numbers, many=many)
    for worker, session in sessions:
        connections = session["connections"]
        backends = ", ".join(str(connection["backend_pid"] or "") for connection in connections)
        held = written(_longest_held(session)) if connections else ""
        idle = f"{session['idle_share']:.0%}" if connections else ""
        state = Text(visible(session["state"]), _STATE_STYLES.get(session["state"], ""))
        texts: list[str | Text] = [session["route"], state, session["awaiting"] or ""]
        counts = [str(session["transactions"]), str(session["statements"])]
        _add(table, worker, [*texts, written(session["age"]), held, idle, *counts, backends], many=many)
    return table


def _routes(routes: Iterable[tuple[Json, Json]], *, many: bool) -> Table:
    title = "Routes of the last 5 minutes by the time that they held a connection idle"
    table = _table(title, ["Route", "Change"], ["Held idle", "Held", "Sessions", "Early releases"], many=many)
    for worker, route in routes:
        numbers = [written(route["held_idle"]), written(route["held"])]
        counts = [str(route["sessions"]), str(route["early_releases"])]
        _add(table, worker, [route["route"], route["text"], *numbers, *counts], many=many)
    return table


def _table(title: str, texts: Iterable[str], numbers: Iterable[str], *, many: bool) -> Table:
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=None, header_style="dim", expand=True
    )
    if many:
        table.add_column("Worker", no_wrap=True)
    for heading in texts:
        table.add_column(heading, no_wrap=heading != "Change", overflow="ellipsis", ratio=1)
    for heading in numbers:
        table.add_column(heading, no_wrap=True, justify="right")
    return table


def _add(table: Table, worker: Json, cells: Iterable[str | Text], *, many: bool) -> None:
    place = [worker["name"]] if many else []
    # A Text is taken as it is, and a str would be read as rich's markup.
    table.add_row(*(cell if isinstance(cell, Text) else Text(visible(cell)) for cell in (*place, *cells)))


def _title(workers: Iterable[Json], shown: int) -> str:
    total, states = 0, dict[str, int]()
    for worker in workers:
        total += worker["sessions"]["total"]
        for state, number in worker["sessions"]["by_state"].items():
            states[state] = states.get(state, 0) + number
    counts = ", ".join(f"{number} {visible(state)}" for state, number in states.items() if number)
    return f"Open sessions: {total}{counts and f' ({counts})'}" + ("" if shown == total else f"; {shown} are shown")


def _longest_held(session: Json) -> float:
    return max((connection["held"] for connection in session["connections"]), default=0.0)


def _matcher(words: str) -> Any:
    wanted = words.lower().split()

    def matches(worker: Json, item: Json) -> bool:
        parts = (item["route"], item.get("state"), item.get("awaiting"), item.get("trace_id"), worker["name"])
        text = "\n".join(str(part) for part in parts).lower()
        return all(word in text for word in wanted)

    return matches
