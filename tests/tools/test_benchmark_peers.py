"""``make benchmark``: the peers have our versions, and the documentation has what was measured."""

import re
from pathlib import Path

import pytest

from tools.benchmarks.peers.contestants import FOLDER, GROUPS, locked_versions
from tools.benchmarks.peers.documentation import PAGE, PICTURE, with_table
from tools.benchmarks.peers.measure import in_turn
from tools.benchmarks.peers.results import MEASURED, GroupOfResults, Measured, Result, table
from tools.benchmarks.peers.starting import tools_only

PEERS = sorted(path.parent.name for path in FOLDER.glob("*/requirements.lock"))
OTHER_VERSIONS = {"opentelemetry": {"sqlalchemy"}}
"""The instrumentation leaves SQLAlchemy 2.1 alone."""

SAMPLE = Measured(
    {"date": "2026-11-26", "python": "3.11.7", "sets": 3, "rounds": 10, "requests": 240},
    {
        "aiohttp": GroupOfResults(
            "aiohttp",
            (
                Result("by hand", 200.0, (200.0, 210.0, 190.0)),
                Result("this library, metrics", 160.0, (150.0, 168.0, 171.0)),
                Result("this library, all spans", 176.0, (165.0, 184.8, 188.1), over="this library, metrics"),
            ),
        )
    },
)


def test_the_makefile_has_each_peer() -> None:
    (listed,) = re.findall(r"^PEERS := (.+)$", (FOLDER.parents[2] / "Makefile").read_text(), re.MULTILINE)
    asked_for = {contestant.peer for group in GROUPS.values() for contestant in group.contestants} - {None}
    assert listed.split() == PEERS == sorted(map(str, asked_for))


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_is_measured_with_the_versions_of_this_project(peer: str) -> None:
    ours, theirs = locked_versions(None), locked_versions(peer)
    different = {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}
    assert different == OTHER_VERSIONS.get(peer, set())
    assert {"asyncpg", "greenlet", "sqlalchemy"} <= theirs.keys()


def test_a_peer_finds_the_tools_and_nothing_else_of_this_project() -> None:
    with tools_only() as folder:
        assert [path.name for path in folder.iterdir()] == ["tools"]
        assert (folder / "tools" / "benchmarks").is_dir()


def test_no_contestant_is_measured_earlier_than_the_others() -> None:
    contestants = GROUPS["starlette"].contestants
    rounds = [in_turn(contestants, number, turn) for number in (0, 1) for turn in range(10)]
    assert len({order.index(contestants[0]) for order in rounds}) == len(contestants)
    for contestant in contestants:
        assert sum(order.index(contestant) for order in rounds) == len(rounds) * (len(contestants) - 1) / 2


def test_the_table_has_the_ratio_of_all_blocks_and_the_ratios_of_the_sets() -> None:
    assert table(list(SAMPLE.groups.values())).splitlines()[2:] == [
        "| aiohttp: by hand | 200 µs | 1 | |",
        "| aiohttp: this library, metrics | 160 µs | 0.800 | 0.800 (0.750 to 0.900) |",
        "| aiohttp: this library, all spans | 176 µs | 0.880 | 0.880 (0.825 to 0.990) |",
        "| aiohttp: this library, all spans, over *this library, metrics* | | 1.100 | 1.100 (1.100 to 1.100) |",
    ]


def test_a_file_has_all_that_was_measured(tmp_path: Path) -> None:
    SAMPLE.write(tmp_path / "measured.json")
    assert Measured.read(tmp_path / "measured.json") == SAMPLE


def test_the_page_has_the_table_of_the_last_run_and_its_picture() -> None:
    page = PAGE.read_text()
    assert with_table(page, Measured.read(MEASURED)) == page
    assert f"](../pictures/{PICTURE.name})" in page
