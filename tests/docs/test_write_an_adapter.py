"""docs/how-to/write-an-adapter.md: its code is the tested code, and it explains the whole adapter kit."""

import re
import sys
import tomllib
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from context_async_sqlalchemy import DBConnect, adapter_kit, setup_db
from context_async_sqlalchemy_prometheus import PrometheusObserver
from examples.adapter import adapter
from examples.adapter.framework import App, Request, Response, serving
from tests.conformance.statements import run
from tests.support.connections import connect_to

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/how-to/write-an-adapter.md").read_text()


def _block(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(block)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the document's entry point, as the adapter's distribution would."""
    metadata = tmp_path / "example_adapter-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: example-adapter\nVersion: 1.0\n")
    ((group, entries),) = tomllib.loads(_block("toml"))["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def test_the_documented_adapter_is_the_tested_one() -> None:
    code = (ROOT / "examples/adapter/adapter.py").read_text()
    assert _block("python") == code
    assert len(code.splitlines()) < 120


def test_every_name_of_the_kit_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert sorted(explained) == sorted(adapter_kit.__all__)


@pytest.mark.usefixtures("registered")
async def test_setup_db_finds_the_adapter_by_the_documented_entry_point(connection: DBConnect) -> None:
    app = App()
    setup_db(app, [connection])
    assert isinstance(app.state["context_async_sqlalchemy"], adapter_kit.Lifecycle)


async def test_the_adapter_serves_metrics_by_route(database_url: str) -> None:
    connection = connect_to(database_url, name="metered")

    async def handler(_request: Request) -> Response:
        await run(connection, "SELECT 1")
        return Response()

    app = App()
    app.add_route(["GET"], "/orders/{id}", handler)
    adapter.setup_db(app, [connection], observers=[PrometheusObserver(CollectorRegistry())])
    async with serving(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/orders/7")).status == 200
        metrics = await (await client.get("/metrics")).text()
        assert (await client.head("/metrics")).status == 200
        assert (await client.get("/missing")).status == 404
    labels = '{db_client_connection_pool_name="metered",route="GET /orders/{id}"}'
    assert f"db_session_statements_total{labels} 1.0" in metrics


def test_the_adapter_refuses_an_application_that_is_set_up_already(connection: DBConnect) -> None:
    app = App()
    adapter.setup_db(app, [connection])
    with pytest.raises(RuntimeError, match="twice"):
        adapter.setup_db(app, [connection])
