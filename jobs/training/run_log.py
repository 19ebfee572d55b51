"""What a training says of itself: numbers and pictures for TensorBoard, and one JSON object a line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from jobs.training.run_folder import cannot_write

LOG = "log.jsonl"


class RunLog:
    """The records of a run folder, from some step on: what TensorBoard was told of later ones no longer counts."""

    def __init__(self, out: Path, step: int) -> None:
        _remove_half_line(out / LOG)
        self._lines = (out / LOG).open("ab", buffering=0)  # what cannot be written is not tried again at the end
        self._events = SummaryWriter(str(out), purge_step=step)

    def write(self, step: int, **values: float | str | Mapping[str, Any]) -> None:
        """One line; of it, TensorBoard gets the numbers. Raises RunFolderError where it cannot be written."""
        try:
            self._lines.write((json.dumps({"step": step, **values}) + "\n").encode())
        except OSError as error:
            raise cannot_write(self._lines.name, error) from error
        for name, value in values.items():
            if isinstance(value, float):
                self._events.add_scalar(name, value, step)

    def draw(self, step: int, name: str, picture: Tensor) -> None:
        """A picture [3,H,W] uint8 RGB."""
        self._events.add_image(name, picture, step)

    def close(self) -> None:
        self._events.close()
        self._lines.close()


def _remove_half_line(path: Path) -> None:
    """A training that was killed while it wrote a line must not spoil the first one of its resumption."""
    if path.exists():
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        with path.open("r+b") as file:
            file.truncate(len(whole + newline))
