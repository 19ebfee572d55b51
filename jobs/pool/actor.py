"""The far side of the Ray engine: the inside of an actor."""

from collections.abc import Callable
from typing import Any

from jobs.errors import UnfitNodeError
from jobs.pool.units import Worker


class UnitActor:
    """The inside of an actor: owns one worker. `progress` is called in another thread while `run` is busy."""

    def __init__(self) -> None:
        self._progress = ("", 0)

    def make(self, make_worker: Callable[[], Worker[Any, Any]]) -> str | None:
        """What this node lacks for such a worker, if anything."""
        try:
            self._worker = make_worker()
        except UnfitNodeError as error:
            return str(error)
        return None

    def run(self, unit: object, attempt: str) -> tuple[object, int]:
        """The worker's record, and how much it reported."""
        self._progress = (attempt, 0)
        record = self._worker(unit, attempt, self._report)
        return record, self._progress[1]

    def _report(self, count: int) -> None:
        attempt, done = self._progress
        self._progress = (attempt, done + count)

    def progress(self) -> tuple[str, int]:
        """The attempt under way, and how much it has reported."""
        return self._progress


def gpu_bytes() -> int:
    """The memory of the GPU that this process was given, the smallest if of several; 0 where PyTorch finds none."""
    import torch

    count = torch.cuda.device_count()
    return min((torch.cuda.get_device_properties(index).total_memory for index in range(count)), default=0)
