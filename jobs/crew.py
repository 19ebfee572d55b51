"""The crew of a training run: Ray Train starts its members, a supervisor beside them hears how they end."""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from jobs.cluster import connected
from jobs.errors import JobError
from jobs.launch import Member
from jobs.signals import interruptible

POLL_SECONDS = 0.5
PULSE_SECONDS = 10.0
START_SECONDS = 60

Result = TypeVar("Result")

TRAIN_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_SECONDS),
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # members stay where Ray's processes start: paths that `train` was given may be relative
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # a node that is drained is a node that is lost: no restart but ours, which counts attempts
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def train_on_ray(
    train: Callable[[Member], Result],
    *,
    num_workers: int,
    address: str | None,
    gpus_per_worker: int | None,
    max_failures: int,
) -> Result:
    """See `jobs.launch.launch`."""
    if importlib.util.find_spec("ray") is None:
        raise JobError(_missing("No module named 'ray'"))
    with (
        connected(address, num_cpus=num_workers) as ray,
        tempfile.TemporaryDirectory(prefix="crew-") as folder,
        interruptible() as check,
    ):
        plan = _Plan(
            train=ray.cloudpickle.dumps(train),
            num_workers=num_workers,
            gpus=plan_gpus(ray.cluster_resources(), num_workers, gpus_per_worker),
            folder=folder,
            alone=address is None,
        )
        for attempt in range(max_failures + 1):
            ending = _attempt(ray, plan, attempt, check)
            if ending.died is None:
                return _delivered(ray, ending)
        raise JobError(
            f"the crew of {num_workers} died {max_failures + 1} times, the last time because: {ending.died}; if memory "
            "is short, use fewer workers or smaller batches; the same command goes on from the last checkpoint"
        )


def plan_gpus(resources: dict[str, float], num_workers: int, gpus_per_worker: int | None) -> int:
    """How many GPUs a member gets: 0 or 1. Raises JobError where a cluster of these resources is too small."""
    gpus = int(resources.get("GPU", 0) > 0) if gpus_per_worker is None else gpus_per_worker
    for name, needed in (("CPU", num_workers), ("GPU", num_workers * gpus)):
        if needed > resources.get(name, 0):
            raise JobError(
                f"{num_workers} workers need {needed} {name}s, and the cluster has {resources.get(name, 0):g}; ask for "
                "fewer workers, or add nodes"
            )
    return gpus


@dataclass(frozen=True)
class _Plan:
    """What is the same in all attempts. `train` is pickled: only members need what it imports."""

    train: bytes
    num_workers: int
    gpus: int
    folder: str
    alone: bool


@dataclass(frozen=True)
class _Ending:
    """How an attempt ended: with one of these."""

    returned: bytes | None = None
    raised: tuple[bytes, str] | None = None
    died: str | None = None
    unable: str | None = None


def _attempt(ray: ModuleType, plan: _Plan, attempt: int, check: Callable[[], None]) -> _Ending:
    """Have a supervisor run one attempt. When this is left, however, the supervisor goes, and its crew with it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    supervisor = ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"messages": 1}, scheduling_strategy=here)(
        Supervisor
    ).remote()
    try:
        ended = supervisor.run.remote(supervisor, plan, attempt)
        next_pulse = time.monotonic() + PULSE_SECONDS
        while not ray.wait([ended], timeout=POLL_SECONDS)[0]:
            check()
            if time.monotonic() > next_pulse:
                next_pulse = time.monotonic() + PULSE_SECONDS
                if not any(node["Alive"] for node in ray.nodes()):
                    raise JobError(
                        "Ray itself has died: none of its nodes is alive; the same command goes on from the last "
                        "checkpoint"
                    )
        return ray.get(ended)
    except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as death:
        return _Ending(died=_reason(death))
    finally:
        ray.kill(supervisor)


def _delivered(ray: ModuleType, ending: _Ending) -> Any:
    if ending.unable is not None:
        raise JobError(ending.unable)
    if ending.raised is not None:
        pickled, text = ending.raised
        error = ray.cloudpickle.loads(pickled)
        error.add_note(text)
        raise error
    assert ending.returned is not None
    return ray.cloudpickle.loads(ending.returned)


class Supervisor:
    """The inside of an actor: runs Ray Train for one attempt, apart from the driver's signals, streams and threads."""

    def __init__(self) -> None:
        self._returned: bytes | None = None
        self._raised: tuple[bytes, str] | None = None

    def returned(self, pickled: bytes) -> None:
        self._returned = pickled

    def raised(self, pickled: bytes, text: str) -> None:
        self._raised = self._raised or (pickled, text)

    def run(self, me: Any, plan: _Plan, attempt: int) -> _Ending:
        os.environ.update(TRAIN_SETTINGS)
        try:
            from ray import train
            from ray.train.torch import TorchConfig, TorchTrainer
        except ImportError as error:
            return _Ending(unable=_missing(str(error)))

        trainer = TorchTrainer(
            partial(_serve, plan.train, me, attempt),
            torch_config=_private_group(Path(plan.folder) / f"group-{attempt}") if plan.alone else TorchConfig(),
            scaling_config=train.ScalingConfig(num_workers=plan.num_workers, use_gpu=bool(plan.gpus)),
            run_config=train.RunConfig(
                name=f"attempt-{attempt}",
                storage_path=plan.folder,
                # mypy sees the configuration of Ray Train V1
                failure_config=train.FailureConfig(
                    max_failures=0,
                    controller_failure_limit=0,  # type: ignore[call-arg]
                    max_preemption_failures=0,
                ),
            ),
        )
        try:
            trainer.fit()
        except train.TrainingFailedError as error:
            if self._raised is not None:
                return _Ending(raised=self._raised)
            return _Ending(died=_reason(error))
        return _Ending(returned=self._returned)


def _serve(pickled: bytes, supervisor: Any, attempt: int) -> None:
    """The inside of a member."""
    import ray
    import torch
    from ray import train
    from ray.train.torch import get_device

    context = train.get_context()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // context.get_local_world_size()))
    member = Member(context.get_world_rank(), context.get_world_size(), get_device(), attempt)
    try:
        result = ray.cloudpickle.dumps(ray.cloudpickle.loads(pickled)(member))
    except Exception as error:
        if not _lost_another(error):
            ray.get(supervisor.raised.options(concurrency_group="messages").remote(*_portable(error, member.rank)))
        raise
    if member.rank == 0:
        ray.get(supervisor.returned.options(concurrency_group="messages").remote(result))


def _lost_another(error: Exception) -> bool:
    """Whether this member failed because another one is gone."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or (type(error) is RuntimeError and "gloo" in str(error))


def _portable(error: Exception, rank: int) -> tuple[bytes, str]:
    """The error pickled, and where it was raised; what cannot travel is replaced by its text."""
    from ray import cloudpickle

    where = f"in member {rank}:\n{''.join(traceback.format_exception(error)).rstrip()}"
    try:
        pickled = cloudpickle.dumps(error)
        cloudpickle.loads(pickled)
    except Exception:
        pickled = cloudpickle.dumps(JobError(f"a worker failed: {type(error).__name__}: {error}"))
    return pickled, where


def _private_group(rendezvous: Path) -> Any:
    """Ray's TorchConfig for members that are all on this machine: they meet in a file, and talk on loopback.

    Ray's own has rank 0 listen on all interfaces.
    """
    import ray
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig

    class PrivateGroup(Backend):
        share_cuda_visible_devices = True

        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            size = len(worker_group)
            ray.get(
                [
                    worker_group.execute_single_async(rank, _meet, backend_config.backend, str(rendezvous), rank, size)
                    for rank in range(size)
                ]
            )

    class PrivateConfig(TorchConfig):
        @property
        def backend_cls(self) -> type[Backend]:
            return PrivateGroup

    return PrivateConfig()


def _meet(backend: str, rendezvous: str, rank: int, size: int) -> None:
    from torch import distributed

    loopback = next(name for _, name in socket.if_nameindex() if name in ("lo", "lo0"))
    os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    distributed.init_process_group(backend, init_method=f"file://{rendezvous}", rank=rank, world_size=size)


def _reason(death: Exception) -> str:
    text = str(death).strip()
    detail = text.partition("Worker exit detail: ")[2] or text.splitlines()[-1]
    return detail.partition(" Some common causes")[0].partition("\n")[0].rstrip(". ")


def _missing(found: str) -> str:
    return (
        f'Ray Train cannot be imported ({found}); install it with `pip install "ray[train]"`, or ask for one worker, '
        "which needs no Ray"
    )
