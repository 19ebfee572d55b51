"""docker/compose.yaml, by structure: what its services are started with. No engine runs here that could start them."""

import re
from typing import Any

import pytest
import yaml
from helpers.documents import REPOSITORY
from helpers.services import check_command

COMPOSE = REPOSITORY / "docker" / "compose.yaml"
CLUSTER = REPOSITORY / "docs" / "cluster.md"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
HEAD = "first:6379"


def filled_in(text: str) -> str:
    """A value with HEAD set, and else the defaults, as `docker compose` fills in variables."""
    text = text.replace("${HEAD:-}", HEAD)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_started_with_options_that_there_are(name: str) -> None:
    service = SERVICES[name]
    check_command([filled_in(word) for word in [*service["entrypoint"], *service["command"]]])
    if "healthcheck" in service:
        asked, *words = service["healthcheck"]["test"]
        assert asked == "CMD"
        check_command([filled_in(word) for word in words])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_built_here_and_runs_as_no_root_with_a_token(name: str) -> None:
    service = SERVICES[name]
    build = service["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).samefile(REPOSITORY / "docker" / "Dockerfile")
    assert filled_in(service["user"]) == "1000:1000"
    assert filled_in(service["volumes"][0]) == "/data:/data"
    assert service["init"] is True
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["environment"]["RAY_AUTH_TOKEN"] == "${RAY_AUTH_TOKEN:-}"
    assert filled_in(service["runtime"]) == "runc"


def test_nothing_starts_by_itself_and_jobs_on_several_machines_run_beside_the_head() -> None:
    """In a container of their own they would find no node of Ray's."""
    assert {name: service["profiles"] for name, service in SERVICES.items()} == {
        "propagate": ["job"],
        "train": ["job"],
        "head": ["cluster"],
        "worker": ["cluster"],
    }
    assert not [name for service in SERVICES.values() for name in service["environment"] if "ADDRESS" in name]
    jobs = re.findall(r"compose.yaml (.*?) (?:propagate|segtrain) [^\n]*(?:\\\n[^\n]*)?--address", CLUSTER.read_text())
    assert jobs == ["exec head"]
    variables = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))
    assert variables == {"RUNTIME", "ACCOUNT", "DATA", "RAY_AUTH_TOKEN", "HEAD"}
