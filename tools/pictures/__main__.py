"""Writes docs/pictures: ``make pictures``.

The shop is run in good order for a while and then in trouble, with Prometheus beside it; the dashboard is drawn from
what Prometheus has of that, and one order of either time is shown in a trace viewer. The inspector is looked at in the
trouble.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from examples.observe import HOST, OTLP_PORT, PROMETHEUS_PORT, SHOP_PORT, is_taken, prometheus, started
from examples.shop.startup import CannotStartError
from tools.pictures import trouble
from tools.pictures.dashboard import overview

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
_SECONDS = 90.0
"""How long the shop is in good order, and in trouble: many scrapes."""
_INSTALL = {
    "prometheus": "apt-get install --no-install-recommends prometheus",
    "chromium": "apt-get install --no-install-recommends chromium fonts-dejavu-core",
    "autotel-devtools": "make pictures installs it, into the virtual environment",
}
_PORTS = {SHOP_PORT: "the shop", PROMETHEUS_PORT: "Prometheus", OTLP_PORT: "the trace viewer"}


def main() -> int:
    """Draw all pictures and give the exit status."""
    if obstacles := find_obstacles():
        print("\n".join(obstacles), file=sys.stderr)
        return 2
    # Installed for this command alone; what is missing should be told before.
    from tools.pictures import drawing, inspector, waterfall  # noqa: PLC0415

    chromium = shutil.which("chromium") or "chromium"

    async def look(url: str) -> None:
        await inspector.picture(url, chromium, FOLDER / "inspector.png")

    viewer = ["autotel-devtools", "--host", HOST, "--port", str(OTLP_PORT), "--grpc-port", "4317"]
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as folder,
        prometheus(Path(folder)),
        started(viewer, OTLP_PORT),
    ):
        print(f"The shop is under load for {2 * _SECONDS:g} s ...", flush=True)
        try:
            seen = asyncio.run(trouble.happen(SHOP_PORT, _SECONDS, look))
        except CannotStartError as error:
            print(error, file=sys.stderr)
            return 2
        shown = overview(f"http://{HOST}:{PROMETHEUS_PORT}", seen.began, seen.ended)
        what_happens = "In the second half of the time, orders hold their connection while they are paid."
        drawing.draw(shown, what_happens, FOLDER / "overview.png")
        traces = [seen.late, seen.early]
        waterfall.picture(f"http://{HOST}:{OTLP_PORT}", traces, chromium, FOLDER / "waterfall.png")
    for path in sorted(FOLDER.glob("*.png")):
        print(f"{path}: {path.stat().st_size // 1000} kB")
    return 0


def find_obstacles() -> list[str]:
    """Tell what is missing or in the way, with the remedy."""
    missing = [f"{name} is missing: {how}" for name, how in _INSTALL.items() if shutil.which(name) is None]
    taken = [f"port {port} is taken: {what} needs it" for port, what in _PORTS.items() if is_taken(port)]
    return missing + taken


if __name__ == "__main__":
    sys.exit(main())
