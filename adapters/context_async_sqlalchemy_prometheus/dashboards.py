"""Write the dashboards, alerts and runbooks: python -m context_async_sqlalchemy_prometheus.dashboards FOLDER."""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_MODULE = "context_async_sqlalchemy_prometheus.dashboards"
_INSTALLED = Path(__file__).with_name("grafana")
# An editable installation has no copy, so the files of the checkout are taken.
_CHECKOUT = Path(__file__).parents[2] / "grafana"
_SHIPPED = ("dashboards/*.json", "alerts/*.yaml", "runbooks/*.md")


def write_dashboards(folder: Path) -> list[Path]:
    """Write the Grafana dashboards, the Prometheus alerts and their runbooks; return the files that were written.

    Args:
        folder: where to write them. It is made if it does not exist. Files of an older version are replaced.

    Raises:
        FileNotFoundError: the installation lacks the files.
        OSError: a file cannot be written.

    """
    written: list[Path] = []
    for source, path in _files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        written.append(target)
    return written


def _files() -> Iterator[tuple[Path, Path]]:
    """Return the files that are shipped, and their paths below a folder of the caller's."""
    root = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    for pattern in _SHIPPED:
        sources = sorted(root.glob(pattern))
        if not sources:
            raise FileNotFoundError(
                f"this installation lacks {pattern} in {root}: install context-async-sqlalchemy from its wheel, "
                "or take the folder grafana/ of its source distribution"
            )
        for source in sources:
            yield source, source.relative_to(root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files to the folder that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m context_async_sqlalchemy_prometheus.dashboards", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="where to write them; made if it does not exist")
    folder: Path = parser.parse_args(arguments).folder
    try:
        written = write_dashboards(folder)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    sys.stdout.writelines(f"{path}\n" for path in written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
