"""A crew of training processes on Ray: started, heard, and started again when it dies."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from jobs.crew.member import Member
from jobs.crew.supervisor import Ending, Plan, Supervisor, missing, reason
from jobs.errors import JobError
from jobs.ray.cluster import connected
from jobs.ray.nodes import Pulse
from jobs.ray.switches import is_loopback
from jobs.signals import interruptible

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
STOP_SECONDS = 10.0
GO_ON = "run the same command again, which goes on from the last checkpoint"
Result = TypeVar("Result")


def train_on_ray(
    train: Callable[[Member], Result],
    *,
    num_workers: int,
    address: str | None,
    gpus_per_worker: int | None,
    max_failures: int,
    on_message: Callable[[Any], None],
) -> Result:
    """See `jobs.crew.launch.launch`."""
    try:
        import ray
    except ImportError as error:
        raise JobError(missing(error)) from None
    ours = address is None and not ray.is_initialized()
    with (
        connected(address, num_cpus=num_workers, instead="ask for one worker"),
        tempfile.TemporaryDirectory(prefix="crew-") as folder,
        interruptible() as check,
    ):
        gpus = plan_gpus(ray.cluster_resources(), num_workers, gpus_per_worker)
        private = is_loopback(ray.util.get_node_ip_address())
        plan = Plan(ray.cloudpickle.dumps(train), num_workers, gpus, folder, private, ours)
        died: str | None = None
        pulse = Pulse(ray, GO_ON)
        for attempt in range(max_failures + 1):
            if died is not None:
                logger.warning("starting the crew again, after a death (%s)", died)
            ending = _run_attempt(plan, attempt, on_message, check, pulse)
            died = ending.died
            if died is None:
                return _delivered(ending)
        raise JobError(
            f"the crew died {max_failures + 1} times, the last time of: {died}; if memory is short, use fewer workers "
            "or smaller batches"
        )


def plan_gpus(resources: dict[str, float], num_workers: int, gpus_per_worker: int | None) -> int:
    """How many GPUs a member gets, 0 or 1. Raises: JobError where a cluster of these resources is too small."""
    gpus = int(resources.get("GPU", 0) > 0) if gpus_per_worker is None else gpus_per_worker
    for name, needed in (("CPU", num_workers), ("GPU", num_workers * gpus)):
        if needed > (found := resources.get(name, 0)):
            raise JobError(
                f"{num_workers} workers need {needed} {name}s, and the cluster has {found:g}; ask for fewer workers, "
                "or add nodes to it"
            )
    return gpus


def _run_attempt(
    plan: Plan, attempt: int, on_message: Callable[[Any], None], check: Callable[[], None], pulse: Pulse
) -> Ending:
    """One attempt, under a supervisor of its own: when that goes, however this is left, its crew goes with it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote  # whose types know nothing of concurrency groups
    options = {"num_cpus": 0, "max_restarts": 0, "concurrency_groups": {"messages": 1}, "scheduling_strategy": here}
    actor_class = remote(**options)(Supervisor)
    supervisor = pulse.during(actor_class.remote)
    messages = supervisor.run.options(num_returns="streaming").remote(supervisor, plan, attempt)
    ended = False
    try:
        for message in _heard(messages, check, pulse):
            if isinstance(message, Ending):
                ended = True
                return message
            on_message(ray.cloudpickle.loads(message))
        raise AssertionError("a supervisor's last message is an ending")
    except ray.exceptions.RayError as error:
        ended = True
        if isinstance(error, ray.exceptions.RayTaskError):
            raise
        return Ending(died=reason(error))
    finally:
        if not ended and not plan.ours:
            _stop(supervisor, messages)
        with suppress(JobError):  # where Ray has died, so has it
            pulse.during(partial(ray.kill, supervisor))


def _heard(messages: Any, check: Callable[[], None], pulse: Pulse) -> Iterator[Any]:
    """What comes out of a stream of Ray's, while Ray lives and no signal has arrived."""
    import ray

    while True:
        ready, _ = ray.wait([messages], timeout=POLL_SECONDS)
        check()
        pulse.feel()
        if ready:
            yield ray.get(next(messages))


def _stop(supervisor: Any, messages: Any) -> None:
    """Have the crew end in such order that Ray Train gives back what it holds of a Ray that goes on."""
    import ray

    supervisor.stop.options(concurrency_group="messages").remote()
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(ray.exceptions.RayError, StopIteration):
        while ray.wait([messages], timeout=max(0.0, deadline - time.monotonic()))[0]:
            if isinstance(ray.get(next(messages)), Ending):
                return


def _delivered(ending: Ending) -> Any:
    from ray import cloudpickle

    if ending.refused is not None:
        raise JobError(ending.refused)
    if ending.raised is not None:
        pickled, where = ending.raised
        error = cloudpickle.loads(pickled)
        error.add_note(where)
        raise error
    assert ending.returned is not None
    return cloudpickle.loads(ending.returned)
