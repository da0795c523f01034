"""compose.yaml is held to the command line, to the settings and to the rules for containers."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from roost_inference.process_environment import launch_environment
from roost_platform.cli.main import PARTS, app
from roost_platform.settings.config import (
    settings_model,
    walk_fields,
)
from roost_platform.settings.sources import variable_of
from roost_workflows.server.devserver import DYNAMIC_CONFIG

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: s for name, s in SERVICES.items() if "build" in s}
# A development server that rests: one partition, no schedules, nothing that others change.
FOR_ONE_MACHINE = {
    "dynamicconfig.subscriptionPollInterval",
    "history.acquireShardInterval",
    "history.enableReplicationStream",
    "matching.backlogMetricsEmitInterval",
    "matching.ephemeralDataUpdateInterval",
    "matching.longPollExpirationInterval",
    "matching.nexusEndpointsRefreshInterval",
    "matching.numTaskqueueReadPartitions",
    "matching.numTaskqueueWritePartitions",
    "matching.updateAckInterval",
    "system.clusterMetadataRefreshInterval",
    "system.deadlock.Interval",
    "system.enableParentClosePolicyWorker",
    "system.historyHealthSignalMetricsEnabled",
    "system.namespaceCacheRefreshInterval",
    "system.persistenceHealthSignalAggregationEnabled",
    "system.persistenceHealthSignalMetricsEnabled",
    "worker.enableNamespaceBatcher",
    "worker.enableScheduler",
    "worker.executionsScannerEnabled",
    "worker.historyScannerEnabled",
    "worker.perNamespaceWorkerCount",
    "worker.taskQueueScannerEnabled",
}
DOCKERFILE = (ROOT / "platform" / "Dockerfile").read_text()


def test_every_part_that_production_needs_is_its_own_service() -> None:
    # Production brings a real Temporal cluster, and the sandbox is for trying things.
    served = {s["command"][1] for s in OURS.values() if s["command"][0] == "serve"}
    assert served == set(PARTS) - {"temporal", "sandbox"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_the_command_line(name: str) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    command, *arguments = OURS[name]["command"]
    assert command in commands
    assert command != "serve" or arguments[0] in PARTS


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = {variable_of(path) for path, _ in walk_fields(settings_model())}
    known |= set(launch_environment({})) if "engine" in OURS[name]["command"] else set()
    # Blank: what stands in .env for PostgreSQL's own container.
    given = dict(OURS[name]["environment"])
    assert given.pop("POSTGRES_PASSWORD") == ""
    assert set(given) <= known


@pytest.mark.parametrize("name", ["engine", "prefill"])
def test_engines_are_started_as_roost_up_starts_them(name: str) -> None:
    assert launch_environment({}).items() <= OURS[name]["environment"].items()


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_not_root_and_write_only_where_they_must(name: str) -> None:
    service = OURS[name]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
    assert writable == ["data:/data"]
    assert service["environment"]["ROOST_DATA_DIR"] == "/data"


def test_every_long_running_part_has_a_health_check_of_its_own() -> None:
    for service in OURS.values():
        command, *arguments = service["command"]
        if command == "serve":
            assert service["healthcheck"]["test"] == ["CMD", "roost", "health", *arguments]


def test_what_is_depended_on_exists_and_can_become_so() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            needed = SERVICES[name]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in needed
            else:
                assert str(needed["restart"]).startswith("on-failure")


def test_temporal_is_new_enough_to_push_cancellations_and_told_to() -> None:
    for name in ("temporal", "temporal-schema", "temporal-namespace"):
        version = SERVICES[name]["image"].rpartition(":")[2]
        assert tuple(int(part) for part in version.split(".")) >= (1, 32, 0)
    assert "auto-setup" not in str(SERVICES)
    given = yaml.safe_load(COMPOSE["configs"]["temporal-dynamic"]["content"])
    expected = {k: v for k, v in DYNAMIC_CONFIG.items() if k not in FOR_ONE_MACHINE}
    assert {k: str(v[0]["value"]).lower() for k, v in given.items()} == expected


def test_only_the_web_port_is_published_and_only_to_this_machine() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    port = "${ROOST_WEB__PORT:-8420}"
    assert published == {"web": [f"127.0.0.1:{port}:{port}"]}


def test_no_password_is_written_down() -> None:
    text = (ROOT / "compose.yaml").read_text()
    for value in re.findall(r"^ +\w*(?:PASSWORD|PWD|TOKEN|KEY|SECRET)\w*: (\S+)", text, re.M):
        assert value.startswith("${") or value == '""', value


def test_the_image_runs_as_its_own_user_on_the_locked_dependencies() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "USER 10001:10001" in last_stage
    assert 'ENTRYPOINT ["roost"]' in last_stage
    assert "--require-hashes -r /src/requirements.lock" in DOCKERFILE
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for path in source.split():
            assert "[" in path or (ROOT / path).exists(), path
