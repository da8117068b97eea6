"""What runs the dashboards: the compose file, the data sources and the Prometheus configuration fit each other."""

import re
from typing import Any

import pytest
import yaml

from context_async_sqlalchemy_opentelemetry.attributes import POOL_NAME
from tests.grafana import shipped
from tests.grafana.promql import selectors

_COMPOSE: Any = yaml.safe_load((shipped.FOLDER / "compose.yaml").read_text())
_DATASOURCES: dict[str, Any] = {
    source["uid"]: source
    for source in yaml.safe_load((shipped.FOLDER / "provisioning/datasources/datasources.yaml").read_text())[
        "datasources"
    ]
}


@pytest.mark.parametrize("name", [name for name, service in _COMPOSE["services"].items() if "image" in service])
def test_an_image_is_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", _COMPOSE["services"][name]["image"])


def test_ports_are_published_to_this_machine_alone() -> None:
    for name, service in _COMPOSE["services"].items():
        assert service.get("network_mode", "") != "host", name
        for published in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", published), (name, published)


def test_visitors_of_grafana_look_and_change_nothing() -> None:
    environment = _COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true", "admin has the password admin"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false", "the API takes a password without the form"
    assert (environment["GF_SERVER_DOMAIN"], environment["GF_SERVER_ENFORCE_DOMAIN"]) == ("localhost", "true")


def test_it_is_told_how_an_image_is_pinned_by_digest() -> None:
    text = (shipped.FOLDER / "compose.yaml").read_text()
    assert f"imagetools inspect {_COMPOSE['services']['prometheus']['image']} " in text


def test_no_password_is_written_down() -> None:
    """The demo starts its own PostgreSQL, whose password is random: see tests/tools/local_postgres."""
    text = (shipped.FOLDER / "compose.yaml").read_text()
    assert not re.search(r"trust|POSTGRES_PASSWORD|DATABASE_URL", text)


def test_what_is_mounted_and_copied_is_there() -> None:
    for service in _COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            assert (shipped.FOLDER / volume.split(":")[0]).exists(), volume
    root = shipped.FOLDER.parent
    dockerfile: str = _COMPOSE["services"]["demo"]["build"]["dockerfile_inline"]
    for copied in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE):
        for path in copied.split():
            assert (root / path).exists(), path


def test_dashboards_are_where_grafana_looks_for_them() -> None:
    (provider,) = yaml.safe_load((shipped.FOLDER / "provisioning/dashboards/dashboards.yaml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in _COMPOSE["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    home: str = _COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.removeprefix(f"{provider['options']['path']}/") in [path.name for path in shipped.DASHBOARDS]


def test_a_point_leads_to_its_trace_and_a_trace_back_to_its_metrics() -> None:
    (destination,) = _DATASOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    # The label of the exemplars: see the golden /metrics.
    assert f'# {{span_id="0000000000001234",{destination["name"]}="' in shipped.GOLDEN.read_text()
    assert _DATASOURCES[destination["datasourceUid"]]["type"] == "jaeger"
    back = _DATASOURCES["jaeger"]["jsonData"]["tracesToMetrics"]
    assert _DATASOURCES[back["datasourceUid"]]["type"] == "prometheus"
    for query in back["queries"]:
        for metric, _ in selectors(query["query"]):
            assert {tag["value"] for tag in back["tags"]} <= shipped.measured()[metric]


def test_prometheus_scrapes_as_often_as_grafana_thinks_and_where_the_demo_is() -> None:
    config = yaml.safe_load(shipped.PROMETHEUS_CONFIG.read_text())
    assert config["global"]["scrape_interval"] == _DATASOURCES["prometheus"]["jsonData"]["timeInterval"]
    (scrape,) = config["scrape_configs"]
    command: list[str] = _COMPOSE["services"]["demo"]["command"]
    (target,) = scrape["static_configs"][0]["targets"]
    assert target == f"localhost:{command[command.index('--port') + 1]}"


def test_all_that_is_told_to_be_at_localhost_can_be_reached_from_the_host() -> None:
    text = (shipped.FOLDER / "compose.yaml").read_text()
    told = set(re.findall(r"http://localhost:(\d+)", text.partition("\nname:")[0]))
    published = {published.split(":")[1]: published for published in _COMPOSE["services"]["prometheus"]["ports"]}
    assert told == set(published)
    assert all(published[port] == f"127.0.0.1:{port}:{port}" for port in told)
    command: list[str] = _COMPOSE["services"]["demo"]["command"]
    assert command[command.index("--host") + 1] == "0.0.0.0"  # noqa: S104 - of the container
    assert command[command.index("--port") + 1] in published


def test_the_tag_of_a_pool_is_the_one_that_spans_have() -> None:
    keys = [tag["key"] for tag in _DATASOURCES["jaeger"]["jsonData"]["tracesToMetrics"]["tags"]]
    assert keys == [POOL_NAME]
