"""A training function on one worker and on several: what `launch` promises, and what its crew has to survive."""

import os
import signal
import time
from pathlib import Path

import pytest
from helpers import train_functions
from helpers.drivers import PATIENCE, alive, answer, driver, family, listeners, wait_for
from helpers.job_workers import FullDisk

from jobs.crew import ray_crew
from jobs.crew.launch import launch
from jobs.crew.member import Member
from jobs.crew.ray_crew import plan_gpus
from jobs.crew.supervisor import Ending, Plan, Supervisor, _trainer_class
from jobs.errors import JobError

pytestmark = pytest.mark.slow


def test_a_single_worker_is_this_process() -> None:
    heard: list[str] = []
    device, own = "cpu", os.getpid()
    assert launch(train_functions.alone, gpus_per_worker=0, on_message=heard.append) == (0, 1, 0, device, own)
    assert heard == ["half way"]
    with pytest.raises(FullDisk, match=r"^checkpoint\.safetensors: no space left$"):
        launch(raise_full_disk)


def raise_full_disk(member: Member) -> None:  # noqa: ARG001
    raise FullDisk("checkpoint.safetensors", "no space left")


ALONE = """
sys.modules["ray"] = None
result = launch(train_functions.alone, gpus_per_worker=0)
import torch.distributed
try:
    launch(train_functions.alone, num_workers=2)
except JobError as error:
    print(json.dumps(dict(result=result[:4], error=str(error), group=torch.distributed.is_initialized())))
"""


def test_a_single_worker_needs_no_ray_and_several_say_how_to_get_it(folder: Path) -> None:
    said = answer(ALONE, folder)
    assert (said["result"], said["group"]) == ([0, 1, 0, "cpu"], False)
    assert 'pip install "ray[train]"' in said["error"]
    assert "ask for one worker" in said["error"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_workers": 0}, "num_workers is 0, expected at least 1"),
        ({"gpus_per_worker": 2}, "gpus_per_worker is 2, expected 0, 1 or None"),
        ({"max_failures": -1}, "max_failures is -1, expected at least 0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        launch(train_functions.alone, **arguments)


@pytest.mark.parametrize(
    ("resources", "gpus_per_worker", "expected"),
    [
        ({"CPU": 4.0}, None, 0),
        ({"CPU": 4.0, "GPU": 2.0}, None, 1),
        ({"CPU": 4.0, "GPU": 2.0}, 0, 0),
        ({"CPU": 4.0, "GPU": 1.0}, None, "2 workers need 2 GPUs, and the cluster has 1"),
        ({"CPU": 4.0}, 1, "2 workers need 2 GPUs, and the cluster has 0"),
        ({"CPU": 1.0, "GPU": 2.0}, None, "2 workers need 2 CPUs, and the cluster has 1"),
    ],
)
def test_how_many_gpus_a_member_gets(
    resources: dict[str, float], gpus_per_worker: int | None, expected: int | str
) -> None:
    if isinstance(expected, int):
        assert plan_gpus(resources, 2, gpus_per_worker) == expected
    else:
        with pytest.raises(JobError, match=expected):
            plan_gpus(resources, 2, gpus_per_worker)


def free_cpus() -> float:
    import ray

    return ray.available_resources().get("CPU", 0.0)


@pytest.mark.usefixtures("ray_here")
def test_a_crew_starts_again_when_a_member_dies(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[int, int]] = []
    result = launch(train_functions.DiesOnce(), num_workers=2, max_failures=1, on_message=heard.append)
    assert result == {
        "total": 3.0,
        "attempt": 1,
        "num_members": 2,
        "device": "cpu",
        "threads": max(1, len(os.sched_getaffinity(0)) // 2),
        "backend": "gloo",
        "cwd": str(Path.cwd()),
    }
    assert sorted(report for report in heard if report[0] == 1) == [(1, 0), (1, 1)]
    assert (0, 1) not in heard
    assert [record.message for record in caplog.records if record.name == "jobs.crew.ray_crew"] == [
        "starting the crew again, after a death (Worker unexpectedly exits with a connection error code 2. End of file)"
    ]


@pytest.mark.usefixtures("ray_here")
def test_what_a_member_raises_arrives_as_itself_and_is_not_tried_again(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(FullDisk) as caught:
        launch(train_functions.Fails(tmp_path), num_workers=2)
    assert time.monotonic() - begin < PATIENCE, "the other member, which waits for half an hour, is not waited for"
    assert type(caught.value) is FullDisk
    assert str(caught.value) == "checkpoint.safetensors: no space left"
    assert caught.value.path == "checkpoint.safetensors"
    assert "in member 1:" in caught.value.__notes__[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-0", "0-1"]
    wait_for(lambda: free_cpus() == 2.0, "the end of what Ray Train holds")


@pytest.mark.usefixtures("ray_here")
def test_more_workers_than_the_cluster_holds_are_refused_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(JobError, match=r"^5 workers need 5 CPUs, and the cluster has 2; ask for fewer workers"):
        launch(train_functions.alone, num_workers=5)
    assert time.monotonic() - begin < 5


def test_whatever_becomes_of_a_supervisor_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train's interface may change: what is raised there must not leave the driver waiting."""

    def changed(*_: object) -> Ending:
        raise TypeError("unexpected keyword argument")

    monkeypatch.setattr(Supervisor, "_fit", changed)
    plan = Plan(b"", 2, 0, "", private=True, ours=True)
    [ending] = Supervisor().run(None, plan, 0)
    assert ending == Ending(refused="Ray Train cannot run the crew: TypeError: unexpected keyword argument")


@pytest.mark.parametrize(("ours", "kept"), [(True, ["Backend"]), (False, ["Backend", "PlacementGroupCleanerCallback"])])
def test_actors_that_would_have_nothing_to_do_are_not_started(ours: bool, kept: list[str]) -> None:
    class RayTrains:
        def _create_default_callbacks(self) -> list[object]:
            names = ("Backend", "PlacementGroupCleanerCallback", "DatasetsCallback")
            return [type(name, (), {})() for name in names]

    trainer = _trainer_class(RayTrains, ours=ours)()
    assert [type(callback).__name__ for callback in trainer._create_default_callbacks()] == kept


@pytest.mark.usefixtures("ray_here")
def test_a_crew_that_keeps_dying_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def die(_plan: object, attempt: int, *_: object) -> Ending:
        attempts.append(attempt)
        return Ending(died=f"reason {attempt}")

    monkeypatch.setattr(ray_crew, "_run_attempt", die)
    with pytest.raises(JobError, match=r"^the crew died 3 times, the last time of: reason 2; if memory is short"):
        launch(train_functions.alone, num_workers=2, max_failures=2)
    assert attempts == [0, 1, 2]


def test_a_crew_of_our_own_listens_on_loopback_alone_and_goes_with_ctrl_c(folder: Path) -> None:
    marks = folder / "marks"
    marks.mkdir()
    home = {"HOME": str(folder)}
    script = f"launch(train_functions.Waits(Path({str(marks)!r})), num_workers=2)"
    with driver(script, folder, **home) as process:
        try:
            wait_for(lambda: len(list(marks.iterdir())) == 2 or process.poll() is not None, "the crew")
            assert process.poll() is None, process.communicate()
            processes = family(process)
            members = {int(path.name) for path in marks.iterdir()}
            heard = listeners(processes)
            assert {address.removeprefix("::ffff:") for _, address in heard} == {"127.0.0.1"}, heard
            assert len(members & {p.pid for p in processes}) == 2
        finally:
            process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE)  # its members stay for half an hour
        wait_for(lambda: not alive(processes), "the end of every process")
    assert (process.returncode, stdout) == (-signal.SIGINT, "")
    assert stderr.endswith("KeyboardInterrupt\n")
    assert "Ray" not in stderr.replace("train_on_ray", "")
    assert {path.name for path in folder.iterdir()} <= {"marks", ".ray"}, "only the token that Ray keeps at home"
