# Pillow comes with matplotlib, which is installed for `make pictures` only, not where types are checked.
# pyright: basic, reportMissingImports=false
"""Shows traces in a real viewer, autotel-devtools, and takes its picture with Chromium."""

import subprocess
import tempfile
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import INVALID_SPAN_CONTEXT, format_trace_id
from PIL import Image

from tools.pictures.drawing import save
from tools.pictures.trouble import Spans

_FLAGS = (
    "--headless=new",
    # As root, and in containers; it shows only what this program has made.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1.5",
    # Until the page has asked for its data and drawn it.
    "--virtual-time-budget=8000",
)
_SCALE = 1.5
_WIDTH = 1262
_HEADER, _LINE, _FOOTER = 237, 40, 46
_MENU, _TOP = 262, 32
"""Of the page, in its own pixels: all of it, what is above and below the spans, and what is cut off at left and top."""
_GAP = 16
_SECONDS = 60


def picture(viewer: str, traces: list[Spans], chromium: str, path: Path) -> None:
    """Show traces, one below the other.

    Args:
        viewer: its URL.
        traces: what is shown.
        chromium: the program.
        path: of the picture.

    Raises:
        RuntimeError: the viewer does not take the traces.

    """
    exporter = OTLPSpanExporter(f"{viewer}/v1/traces")
    for spans in traces:
        if exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise RuntimeError(f"the trace viewer at {viewer} does not take traces")
    exporter.shutdown()  # type: ignore[no-untyped-call]
    images = [_taken(viewer, spans, chromium) for spans in traces]
    height = sum(image.height for image in images) + _GAP * (len(images) - 1)
    together = Image.new("RGB", (images[0].width, height), "white")
    top = 0
    for image in images:
        together.paste(image, (0, top))
        top += image.height + _GAP
    save(together, path)


def _taken(viewer: str, spans: Spans, chromium: str) -> Image.Image:
    trace_id = format_trace_id((spans[-1].get_span_context() or INVALID_SPAN_CONTEXT).trace_id)
    height = _HEADER + len(spans) * _LINE + _FOOTER
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        taken = Path(folder) / "page.png"
        command = [
            *(chromium, *_FLAGS, f"--user-data-dir={folder}/profile", f"--window-size={_WIDTH},{height}"),
            *(f"--screenshot={taken}", f"{viewer}/#trace={trace_id}"),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)  # noqa: S603 - ours
        with Image.open(taken) as image:
            box = (round(_MENU * _SCALE), round(_TOP * _SCALE), image.width, image.height)
            return image.convert("RGB").crop(box)
