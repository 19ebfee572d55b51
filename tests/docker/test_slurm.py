"""docker/slurm under stubs of Slurm and Ray: who is started where; docker/slurm/check.sh does it with the real Ray."""

import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.documents import REPOSITORY
from helpers.drivers import PATIENCE, wait_for
from helpers.services import check_command

FOLDER = REPOSITORY / "docker" / "slurm"
JOBS = sorted(path.name for path in FOLDER.glob("*.sbatch"))
# whatever is started says so in a line; Ray's nodes, and a program that is told to, stay until they are ended
NODES = 'until [ "$(grep --count "^ray start" "$SAID")" = $SLURM_JOB_NUM_NODES ]; do sleep 0.05; done; '
STUBS = {
    "scontrol": "printf '127.0.0.1\\nother\\n'",
    "srun": 'echo "srun $*" >>"$SAID"; while case $1 in --*) true ;; *) false ;; esac; do shift; done; exec "$@"',
    "ray": 'echo "ray $* with $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >>"$SAID"; exec sleep 60',
    "python": "exit ${MISSING:-0}",
    "propagate": NODES + 'echo "propagate $*" >>"$SAID"; exec sh -c "${DO:-exit 0}"',
    "segtrain": NODES + 'echo "segtrain $*" >>"$SAID"',
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a job on two nodes, where something listens at the port of Ray's head."""
    for name, text in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    with listener() as server:
        yield {
            **os.environ,
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "SAID": str(tmp_path / "said"),
            "SLURM_JOB_ID": str(server.getsockname()[1] - 20000),
            "SLURM_JOB_NODELIST": "both",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_ON_NODE": "40",
            "SLURM_GPUS_ON_NODE": "8",
        }


def listener() -> socket.socket:
    for port in range(20000, 30000):  # on_nodes.sh takes one of these
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise AssertionError("no port is free")


def started(job: dict[str, str], program: str) -> list[str]:
    """The lines of what was started as this program, sorted: steps begin at the same time."""
    said = Path(job["SAID"])
    lines = said.read_text().splitlines() if said.exists() else []
    return sorted(line for line in lines if line.startswith(f"{program} "))


def submitted(name: str) -> list[str]:
    """The arguments with which the file's own head says that it is submitted."""
    text = (FOLDER / name).read_text(encoding="utf-8").replace(" \\\n#", " ")
    found = re.search(rf"^# +sbatch docker/slurm/{name} (.+)$", text, re.MULTILINE)
    assert found
    return shlex.split(found.group(1))


def run(name: str, job: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", f"docker/slurm/{name}", *submitted(name)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=job, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize(
    ("name", "program", "added"),
    [("propagate.sbatch", "propagate run", []), ("train.sbatch", "segtrain fit", ["--workers", "16"])],
)
def test_a_job_runs_its_program_on_the_ray_of_its_nodes(
    name: str, program: str, added: list[str], job: dict[str, str]
) -> None:
    done = run(name, job)
    assert (done.returncode, done.stderr) == (0, "")
    address = f"127.0.0.1:{20000 + int(job['SLURM_JOB_ID'])}"
    [words] = [shlex.split(line) for line in started(job, program.split()[0])]
    assert words == [*program.split(), *added, *submitted(name), "--address", address]
    check_command(words)

    head, worker = sorted(started(job, "ray"), key=lambda line: "--head" not in line)
    assert f"--port={address.partition(':')[2]}" in head
    assert f"--address={address}" in worker
    secrets = {line.partition(" with ")[2] for line in (head, worker)}
    assert len(secrets) == 1
    assert re.fullmatch(r"token [0-9a-f]{64}", secrets.pop())
    for line in (head, worker):
        assert "--num-cpus=40" in line
        check_command(shlex.split(line.partition(" with ")[0]))


def test_steps_are_where_their_nodes_are_and_outlive_them(job: dict[str, str]) -> None:
    run("propagate.sbatch", job)
    steps = started(job, "srun")
    assert all("--no-kill" in step and "--kill-on-bad-exit=0" in step and "--overlap" in step for step in steps)
    [workers] = [step for step in steps if "ray start" in step and "--head" not in step]
    assert "--exclude=127.0.0.1 " in workers
    assert all("--nodelist=127.0.0.1 " in step for step in steps if step != workers)
    assert not any("container" in step for step in steps)


def test_steps_run_in_an_image_where_one_is_named(job: dict[str, str]) -> None:
    run("propagate.sbatch", {**job, "IMAGE": "image.sqsh", "MOUNTS": "/data:/data"})
    steps = started(job, "srun")
    assert len(steps) == 4
    assert all("--container-image=image.sqsh --container-mounts=/tmp:/tmp,/data:/data" in step for step in steps)


def test_one_node_needs_no_other(job: dict[str, str]) -> None:
    assert run("propagate.sbatch", {**job, "SLURM_JOB_NUM_NODES": "1"}).returncode == 0
    assert len(started(job, "srun")) == 2


def test_the_code_of_the_program_is_that_of_the_job(job: dict[str, str]) -> None:
    assert run("propagate.sbatch", {**job, "DO": "exit 3"}).returncode == 3


def test_nodes_that_do_not_come_are_done_without(job: dict[str, str]) -> None:
    done = run("propagate.sbatch", {**job, "MISSING": "124"})
    assert done.returncode == 0
    assert "not all nodes joined within 300 s" in done.stderr
    assert len(started(job, "propagate")) == 1


def test_a_head_that_does_not_start_is_said(job: dict[str, str]) -> None:
    Path(job["SAID"]).with_name("ray").write_text("#!/bin/sh\nexit 1\n")
    done = run("propagate.sbatch", {**job, "SLURM_JOB_ID": "9999"})  # where nothing listens
    assert done.returncode == 1
    assert "127.0.0.1: Ray did not start" in done.stderr
    assert started(job, "propagate") == []


def test_the_end_of_its_time_reaches_the_program_and_then_ray(job: dict[str, str]) -> None:
    script = "trap 'echo ended >>$SAID; exit 143' TERM; echo ready >>$SAID; while :; do sleep 0.1; done"
    with subprocess.Popen(
        ["bash", "docker/slurm/propagate.sbatch"], cwd=REPOSITORY, env={**job, "DO": script}, text=True
    ) as process:
        said = Path(job["SAID"])
        wait_for(lambda: said.exists() and "ready" in said.read_text(), "the program")
        process.send_signal(signal.SIGTERM)  # as --signal=B:TERM@300 does: to the script alone
        assert process.wait(timeout=PATIENCE) == 143
    assert said.read_text().endswith("ended\n")


@pytest.mark.parametrize("name", JOBS)
def test_a_job_asks_for_whole_nodes_and_is_told_in_time(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    asked = re.findall(r"^#SBATCH (--\S+)$", text, re.MULTILINE)
    assert {"--exclusive", "--ntasks-per-node=1", "--gpus-per-node=8", "--signal=B:TERM@300", "--requeue"} <= set(asked)
