"""The far side of a crew on Ray: its supervisor, which has Ray Train run it, and the inside of its members."""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from jobs.crew.member import Member
from jobs.errors import JobError

START_SECONDS = 60
LINGER_SECONDS = 5.0
HEALTH_SECONDS = 0.5
TRAIN_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(HEALTH_SECONDS),
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_SECONDS),
    # members stay in the directory that they are started in: `train` may have been given relative paths
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # gloo waits for the dead when a process group is taken down
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
    # a node about to go is a node that is lost: restarts are counted here, as attempts
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


@dataclass(frozen=True)
class Plan:
    """What all attempts share.

    train: pickled, since only members need to import what it needs.
    folder: for Ray Train's own files, on this node.
    private: whether all members are on this machine, and nobody else is to reach them.
    ours: whether Ray ends with this run, and whatever is left of it.
    """

    train: bytes
    num_workers: int
    gpus_per_worker: int
    folder: str
    private: bool
    ours: bool


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, in one of four ways.

    returned: what rank 0's `train` returned, pickled.
    raised: what some member's `train` raised, pickled, and its traceback.
    died: why a member, or what started it, is gone.
    refused: why there cannot be a crew.
    """

    returned: bytes | None = None
    raised: tuple[bytes, str] | None = None
    died: str | None = None
    refused: str | None = None


class Supervisor:
    """The inside of an actor: has Ray Train run one attempt, away from the driver's signals and streams.

    Members send their messages here, in another thread than `run`.
    """

    def __init__(self) -> None:
        self._messages: SimpleQueue[bytes | Ending] = SimpleQueue()
        self._members: list[Any] = []
        self._stopped = False
        self._returned: bytes | None = None
        self._raised: tuple[bytes, str] | None = None

    def run(self, me: Any, plan: Plan, attempt: int) -> Iterator[bytes | Ending]:
        """What members report, pickled, and in the end how it ended."""
        threading.Thread(target=lambda: self._messages.put(self._ending(me, plan, attempt)), daemon=True).start()
        while True:
            yield (message := self._messages.get())
            if isinstance(message, Ending):
                return

    def stop(self) -> None:
        import ray

        self._stopped = True
        for member in self._members:
            ray.kill(member)

    def joined(self, member: Any) -> None:
        self._members.append(member)
        if self._stopped:
            self.stop()

    def reported(self, pickled: bytes) -> None:
        self._messages.put(pickled)

    def raised(self, pickled: bytes, where: str) -> None:
        self._raised = self._raised or (pickled, where)

    def returned(self, pickled: bytes) -> None:
        self._returned = pickled

    def _ending(self, me: Any, plan: Plan, attempt: int) -> Ending:
        try:
            return self._fit(me, plan, attempt)
        except Exception as error:  # for who else would tell of it?
            return Ending(refused=f"Ray Train cannot run the crew: {type(error).__name__}: {reason(error)}")

    def _fit(self, me: Any, plan: Plan, attempt: int) -> Ending:
        os.environ.update(TRAIN_SETTINGS)
        try:
            from ray import train
            from ray.train.torch import TorchConfig, TorchTrainer
        except ImportError as error:
            return Ending(refused=missing(error))
        trainer = _trainer_class(TorchTrainer, ours=plan.ours)(
            partial(_serve, plan.train, me, attempt),
            torch_config=_private_group(f"{plan.folder}/meeting-{attempt}") if plan.private else TorchConfig(),
            scaling_config=train.ScalingConfig(
                num_workers=plan.num_workers,
                use_gpu=bool(plan.gpus_per_worker),
                resources_per_worker={"CPU": 1, "GPU": plan.gpus_per_worker},
            ),
            run_config=train.RunConfig(
                name=f"attempt-{attempt}",
                storage_path=plan.folder,
                # no restarts by Ray Train, which restarts after errors too; mypy sees the arguments of its V1
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
                return Ending(raised=self._raised)
            return _failed(error, plan.num_workers)
        except Exception as error:  # for who else would tell of it?
            return Ending(died=f"{type(error).__name__}: {reason(error)}")
        return Ending(returned=self._returned)


def _trainer_class(base: Any, *, ours: bool) -> Any:
    """Ray Train's trainer without actors that would have nothing to do, each of which takes seconds to start.

    No data set of Ray's is given out, and nothing has to be cleaned up after this run in a Ray that ends with it.
    """
    idle = {"DatasetsCallback"} | ({"PlacementGroupCleanerCallback"} if ours else set())

    class Trainer(base):
        def _create_default_callbacks(self) -> list[Any]:
            return [callback for callback in super()._create_default_callbacks() if type(callback).__name__ not in idle]

    return Trainer


def _serve(pickled: bytes, supervisor: Any, attempt: int) -> None:
    """The inside of a member."""
    import ray
    import torch
    from ray import train
    from ray.train.torch import get_device

    def tell(method: str, *message: object) -> None:
        ray.get(getattr(supervisor, method).options(concurrency_group="messages").remote(*message))

    context = train.get_context()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // context.get_local_world_size()))
    member = Member(
        rank=context.get_world_rank(),
        num_members=context.get_world_size(),
        device=get_device(),
        attempt=attempt,
        tell=lambda value: tell("reported", ray.cloudpickle.dumps(value)),
    )
    tell("joined", ray.get_runtime_context().current_actor)
    try:
        result = ray.cloudpickle.loads(pickled)(member)
        if member.rank == 0:
            tell("returned", ray.cloudpickle.dumps(result))
    except Exception as error:
        if _lost_another(error):
            time.sleep(LINGER_SECONDS)  # until Ray has noticed that one, and says why it died
        else:
            tell("raised", *_portable(error, member.rank))
        raise


def _lost_another(error: Exception) -> bool:
    """Whether this member failed because another one is gone."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or (type(error) is RuntimeError and "gloo/transport" in str(error))


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


def _private_group(meeting: str) -> Any:
    """Ray Train's TorchConfig for members that are all on this machine: they meet in a file, and talk on loopback.

    With its own, rank 0 listens on all interfaces.
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
                    worker_group.execute_single_async(rank, _meet, backend_config.backend, meeting, rank, size)
                    for rank in range(size)
                ]
            )

    class PrivateConfig(TorchConfig):
        @property
        def backend_cls(self) -> type[Backend]:
            return PrivateGroup

    return PrivateConfig()


def _meet(backend: str, meeting: str, rank: int, size: int) -> None:
    from torch import distributed

    loopback = next(name for _, name in socket.if_nameindex() if name in ("lo", "lo0"))
    os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    distributed.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=size)


def _failed(error: Exception, num_workers: int) -> Ending:
    """The ending that Ray Train's TrainingFailedError stands for."""
    cause = getattr(error, "controller_failure", None)
    if type(cause).__name__ == "WorkerGroupStartupTimeoutError":
        import ray

        total, free = ray.cluster_resources(), ray.available_resources()
        found = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
        return Ending(
            refused=f"no room for {num_workers} workers within {START_SECONDS} s: the cluster has {found} free; ask "
            "for fewer workers, or wait until other work there has ended"
        )
    return Ending(died=reason(cause or error))


def reason(death: Exception) -> str:
    """Ray's own words on a death, without its advice."""
    text = str(death).strip()
    detail = text.partition("Worker exit detail: ")[2] or (text.splitlines() or [type(death).__name__])[-1]
    return detail.partition(" Some common causes")[0].partition("\n")[0].rstrip(". ")


def missing(error: ImportError) -> str:
    return (
        f'Ray Train cannot be imported ({error}); install it with `pip install "ray[train]"`, or ask for one worker, '
        "which needs no Ray"
    )
