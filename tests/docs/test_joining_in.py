"""CONTRIBUTING.md, the workflows and the hooks name commands, versions and files that exist."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
_TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _load(path: Path) -> Any:
    # YAML 1.1 reads `on` as a bool.
    return yaml.safe_load(path.read_text().replace("\non:", '\n"on":'))


def _jobs(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = _load(path)["jobs"]
    return jobs


def test_ci_runs_every_python_of_the_classifiers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    matrix = _jobs(ROOT / ".github/workflows/ci.yml")["checks"]["strategy"]["matrix"]
    assert matrix["python"] == classified
    assert matrix["experimental"] == [False]
    minor = max(int(version.partition(".")[2]) for version in classified)
    assert matrix["include"] == [{"python": f"3.{minor + 1}", "experimental": True}]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_tell_their_version(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    for action, comment in used:
        if not action.startswith("./"):
            assert re.search(r"@[0-9a-f]{40}$", action), action
            assert re.search(r"# v\d+\.\d+\.\d+$", comment), action


def test_the_release_has_no_token_and_proves_itself_in_one_job_only() -> None:
    path = ROOT / ".github/workflows/release.yml"
    assert _load(path)["permissions"] == {}
    granted = {name: job.get("permissions", {}) for name, job in _jobs(path).items()}
    assert [name for name, permissions in granted.items() if "id-token" in permissions] == ["publish"]
    assert {value for permissions in granted.values() for value in permissions.values()} == {"read", "write"}
    publish = _jobs(path)["publish"]
    assert publish["needs"] == ["checks", "build"]
    assert publish["environment"]["name"] == "pypi"
    assert publish["steps"][-1]["with"] == {"attestations": True}
    assert "secrets." not in path.read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_github_wants(path: Path) -> None:
    form = _load(path)
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert fields
    for field in fields:
        assert field["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names))


def test_hooks_run_programs_of_the_locked_environment() -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    packages = {"lint-imports": "import-linter"}
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local", "no hook is fetched"
    for hook in local["hooks"]:
        program = Path(shlex.split(hook["entry"])[0])
        assert program.parent == Path(".venv/bin")
        assert program.name == "python" or packages.get(program.name, program.name) in locked


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md", "docs/reference/stability.md"])
def test_every_make_target_that_is_named_exists(document: str) -> None:
    named = set(re.findall(r"`make ([\w-]+)|^make ([\w-]+)", (ROOT / document).read_text(), re.MULTILINE))
    targets = {one or other for one, other in named}
    assert targets
    assert targets <= _TARGETS


@pytest.mark.parametrize(
    "document", ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs/reference/stability.md"]
)
def test_every_file_that_is_named_exists(document: str) -> None:
    path = ROOT / document
    text = path.read_text()
    linked = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in linked if link and not (path.parent / link).exists()] == []
    named = re.findall(r"`((?:adapters|context_async_sqlalchemy|docs|examples|grafana|tests|tools)/[\w/.-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
