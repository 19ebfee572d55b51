"""docker/kubernetes, by structure: the fields of KubeRay that are used here, and that one file fits the other.

That an API server takes them is not proved; there is none here.
"""

import shlex
from typing import Any

import pytest
import yaml
from helpers.documents import REPOSITORY
from helpers.services import check_command

FOLDER = REPOSITORY / "docker" / "kubernetes"
FILES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yaml")}
VOLUME, CLUSTER, JOB = FILES["volume"], FILES["cluster"], FILES["propagate"]
# of KubeRay 1.6: what is misspelt is dropped there, or refused
SPEC = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template"}
WORKERS = HEAD | {"groupName", "replicas", "minReplicas", "maxReplicas"}
JOB_SPEC = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
POD = {"securityContext", "volumes", "containers"}
CONTAINER = {"name", "image", "env", "ports", "readinessProbe", "livenessProbe", "resources", "volumeMounts"}
GROUPS = [CLUSTER["spec"]["headGroupSpec"], *CLUSTER["spec"]["workerGroupSpecs"]]
PORTS = {
    "/api/gcs_healthz": 8265,
    "/api/local_raylet_healthz": 52365,
}  # of the dashboard, and of its agent on each node


def test_the_kinds_are_those_of_the_interface() -> None:
    assert {name: (file["apiVersion"], file["kind"]) for name, file in FILES.items()} == {
        "volume": ("v1", "PersistentVolumeClaim"),
        "cluster": ("ray.io/v1", "RayCluster"),
        "propagate": ("ray.io/v1", "RayJob"),
    }


def test_the_fields_are_those_of_the_interface() -> None:
    assert set(CLUSTER["spec"]) == SPEC
    assert set(JOB["spec"]) == JOB_SPEC
    assert [set(group) for group in GROUPS] == [HEAD, WORKERS]
    for group in GROUPS:
        assert set(group["template"]) == {"spec"}
        assert set(group["template"]["spec"]) == POD
        assert set(container_of(group)) <= CONTAINER


def container_of(group: dict[str, Any]) -> dict[str, Any]:
    [container] = group["template"]["spec"]["containers"]
    return container


def test_a_job_has_the_cluster_that_would_stay() -> None:
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]


def test_the_ray_of_the_cluster_is_the_one_of_the_image() -> None:
    constraints = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={CLUSTER['spec']['rayVersion']}" in constraints


def test_ray_asks_for_the_token_of_the_secret_that_the_file_says_how_to_make() -> None:
    secret = CLUSTER["spec"]["authOptions"]["secretName"]
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token", "secretName": secret}
    text = (FOLDER / "cluster.yaml").read_text(encoding="utf-8")
    assert f"kubectl create secret generic {secret} --from-literal=auth_token=" in text


@pytest.mark.parametrize("group", GROUPS, ids=["head", "workers"])
def test_a_pod_has_the_data_and_runs_as_no_root(group: dict[str, Any]) -> None:
    pod, container = group["template"]["spec"], container_of(group)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 1000
    [volume] = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == VOLUME["metadata"]["name"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/data"}]
    assert container["image"] == "label-propagation"
    for kind in ("readinessProbe", "livenessProbe"):
        asked = container[kind]["httpGet"]
        assert PORTS[asked["path"]] == asked["port"]
    for key in ("limits", "requests"):
        assert {"cpu", "memory"} <= set(container["resources"][key])
        assert all(isinstance(value, str) for value in container["resources"][key].values())
    assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes texts only"


def test_the_health_that_is_asked_for_is_what_the_image_is_asked_for_in_its_check() -> None:
    check = (REPOSITORY / "docker" / "check_health.sh").read_text(encoding="utf-8")
    assert all(path in check for path in PORTS)


def test_work_is_done_where_the_gpus_are_and_not_beside_the_driver() -> None:
    head, workers = GROUPS
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert container_of(workers)["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert VOLUME["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_command_of_the_job_has_its_options() -> None:
    check_command(shlex.split(JOB["spec"]["entrypoint"]))
    assert JOB["spec"]["entrypoint"].endswith("--address 127.0.0.1:6379")
