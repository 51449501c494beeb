"""The image, compose.yaml, the Kubernetes manifests and the unit say the same as the Procfile, and are well-formed.

What needs an engine or a cluster is not checked: that the base image and the others exist under these tags, that the
build and the pods come up. docs/deployment.md says so too.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from apps.devstack import procfile
from apps.observability import metrics
from zerobatch import env, settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
KUBERNETES = "1.34"
PROCESSES = procfile.parse((ROOT / "Procfile").read_text())
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
OTHERS = {"migrate", "postgres", "redis", "s3", "upstream"}
MANIFESTS: list[dict[str, Any]] = [
    document for path in sorted((DOCKER / "k8s").glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]
NOT_OURS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
"""Read by boto3 itself."""


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    """Name → manifest."""
    return {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] in kinds}


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return pod


DEPLOYMENTS = of_kind("Deployment")


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_dockerfile_and_the_compose_file_are_well_formed() -> None:
    run(BIN / "hadolint", "--failure-threshold", "info", "docker/Dockerfile")
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker/compose.yaml")


def test_the_manifests_are_well_formed(tmp_path: Path) -> None:
    """KEDA's schema is in no package that we know; the part that it hands on to Kubernetes is checked as that."""
    scaled = of_kind("ScaledObject")["worker"]["spec"]
    standard = [each for each in MANIFESTS if each["kind"] not in ("ScaledObject", "Kustomization")]
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **scaled["scaleTargetRef"]},
        "minReplicas": scaled["minReplicaCount"],
        "maxReplicas": scaled["maxReplicaCount"],
        **scaled["advanced"]["horizontalPodAutoscalerConfig"],
    }
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "w"},
        "spec": spec,
    }
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([*standard, scaler]))

    run(BIN / "kubernetes-validate", "--kubernetes-version", KUBERNETES, "--strict", tmp_path / "all.yaml")


def test_every_process_is_in_compose_and_in_kubernetes_and_nothing_else_is() -> None:
    assert set(SERVICES) == set(PROCESSES) | OTHERS
    assert set(DEPLOYMENTS) == set(PROCESSES)
    assert {name: SERVICES[name]["command"] for name in PROCESSES} == {name: [name] for name in PROCESSES}
    (migrate,) = of_kind("Job").values()
    for name, manifest in {**DEPLOYMENTS, "migrate": migrate}.items():
        (container,) = pod_of(manifest)["containers"]
        assert container["image"] == SERVICES[name]["image"]
        assert container["args"] == SERVICES[name]["command"]


@pytest.mark.parametrize("name", PROCESSES)
def test_the_entrypoint_becomes_the_process_of_the_procfile(name: str, tmp_path: Path) -> None:
    """The programs it would start are replaced by one that says how it was called."""
    line = PROCESSES[name].replace("${WORKER_THREADS:-16}", "7").replace("$$", "PID")
    for program in ("gunicorn", "celery", "python"):
        (tmp_path / program).write_text(f'#!/bin/sh\necho "{program} $*" | sed "s/-$$@/-PID@/"\n')
        (tmp_path / program).chmod(0o755)

    for instance in (name, f"{name}-2"):
        said = subprocess.run(
            [DOCKER / "entrypoint", instance],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "WORKER_THREADS": "7"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.strip() == line


def test_the_entrypoint_runs_any_other_command_as_it_stands() -> None:
    said = subprocess.run([DOCKER / "entrypoint", "echo", "$HOME *"], capture_output=True, text=True, check=True)

    assert said.stdout == "$HOME *\n"


def environments() -> dict[str, set[str]]:
    """Where variables are named → their names."""
    dockerfile = (DOCKER / "Dockerfile").read_text()
    page = (ROOT / "docs" / "deployment.md").read_text()
    secret = re.search(r"create secret generic zerobatch.*?```", page, re.DOTALL)
    assert secret
    return {
        "compose": {name for service in PROCESSES for name in SERVICES[service]["environment"]},
        "k8s": set(of_kind("ConfigMap")["zerobatch"]["data"]),
        "secret": set(re.findall(r"--from-literal=([A-Z_0-9]+)", secret[0])),
        "image": set(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=", dockerfile, re.MULTILINE)),
        "page": set(re.findall(r"^([A-Z_0-9]+)=", page, re.MULTILINE)) - {"DOMAIN", "SOURCE"},
    }


@pytest.mark.parametrize("where", ["compose", "k8s", "secret", "image", "page"])
def test_every_setting_that_is_named_exists(where: str) -> None:
    import zerobatch.gunicorn  # noqa: F401, PLC0415  its settings are read when it is imported

    pythons_own = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    named = environments()[where]

    assert named
    assert named - set(env.defaults) - NOT_OURS - pythons_own == set()


def test_no_secret_has_a_default() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    secrets = set(re.findall(r"\$\{([A-Z_0-9]*(?:SECRET|PASSWORD|TOKEN|KEY)[A-Z_0-9]*)", text))

    assert len(secrets) >= 6
    assert {name for name in secrets if f"${{{name}:?" not in text} == set()
    assert not re.search(r"\$\{\w*(SECRET|PASSWORD|TOKEN|KEY)\w*:?-", text)
    assert not secrets & set(of_kind("ConfigMap")["zerobatch"]["data"])


def test_whoever_stops_a_process_waits_longer_than_it_drains() -> None:
    unit = (DOCKER / "systemd" / "zerobatch@.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop
    assert int(stop[1]) > settings.DRAIN_SECONDS
    for name in ("worker", "control", "sweeps", "webhooks"):
        assert pod_of(DEPLOYMENTS[name])["terminationGracePeriodSeconds"] > settings.DRAIN_SECONDS
        assert seconds(SERVICES[name]["stop_grace_period"]) > settings.DRAIN_SECONDS


def test_every_process_that_answers_probes_is_probed() -> None:
    """With Redis away the API goes on: its probes must not ask whether Redis is there."""
    for name in ("web", "worker", "control", "sweeps", "webhooks"):
        (container,) = pod_of(DEPLOYMENTS[name])["containers"]
        ports = {port["name"] for port in container["ports"]}
        probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {probe["port"] for probe in probes.values()} <= ports
        assert probes["liveness"]["path"] == probes["startup"]["path"] == "/healthz"
        assert probes["readiness"]["path"] == ("/healthz" if name == "web" else "/readyz")
        assert "/healthz" in json.dumps(SERVICES[name]["healthcheck"])


def test_no_process_is_root_or_can_write_its_own_program() -> None:
    assert re.findall(r"^USER (\d+):\d+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE) == ["10001"]
    for manifest in DEPLOYMENTS.values():
        (container,) = pod_of(manifest)["containers"]
        assert pod_of(manifest)["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        # Or Kubernetes would hand each pod FLOWER_PORT=tcp://…, for the Service of that name.
        assert pod_of(manifest)["enableServiceLinks"] is False
    assert all(SERVICES[name]["read_only"] for name in PROCESSES)


def test_every_image_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)

    assert [image for image in images if not re.search(r":[\w.-]*\d[\w.-]*$", image)] == []


@pytest.mark.parametrize("name", ["beat", "sweeps"])
def test_there_is_one_at_a_time(name: str) -> None:
    assert DEPLOYMENTS[name]["spec"]["replicas"] == 1
    assert DEPLOYMENTS[name]["spec"]["strategy"]["type"] == "Recreate"
    assert "deploy" not in SERVICES[name]


def test_workers_are_scaled_by_a_metric_that_there_is() -> None:
    spec = of_kind("ScaledObject")["worker"]["spec"]
    (trigger,) = spec["triggers"]

    (asked,) = re.findall(r"zerobatch_(\w+)", trigger["metadata"]["query"])
    assert asked in metrics.declared
    assert "replicas" not in DEPLOYMENTS["worker"]["spec"]  # each apply would set it back


def test_kustomize_knows_every_manifest() -> None:
    (kustomization,) = (each for each in MANIFESTS if each["kind"] == "Kustomization")
    there = {path.name for path in (DOCKER / "k8s").glob("*.yaml")} - {"kustomization.yaml", "migrate.yaml"}

    assert set(kustomization["resources"]) == there
