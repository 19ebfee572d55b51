"""What a training says of itself: numbers and pictures for TensorBoard, and one JSON object a line."""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import summary

from jobs.training.run_folder import cannot_write

LOG = "log.jsonl"


class RunLog:
    """The records of a run folder, from some step on: what TensorBoard was told of later ones no longer counts.

    Whatever is written is in its file at once. Raises: RunFolderError, here and in every method, where it cannot be.
    """

    def __init__(self, out: Path, step: int) -> None:
        events = out / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        # without buffers: what cannot be written is not tried again at the end
        with _telling(out / LOG):
            _remove_half_line(out / LOG)
            self._lines = (out / LOG).open("ab", buffering=0)
        with _telling(events):
            self._events = events.open("xb", buffering=0)
        self._add(Event(file_version="brain.Event:2", step=step))
        self._add(Event(session_log=SessionLog(status=SessionLog.START), step=step))

    def write(self, step: int, **values: float | str | Mapping[str, Any]) -> None:
        """One line; of it, TensorBoard gets the numbers."""
        with _telling(Path(self._lines.name)):
            self._lines.write((json.dumps({"step": step, **values}) + "\n").encode())
        for name, value in values.items():
            if isinstance(value, float):
                self._add(Event(summary=summary.scalar(name, value), step=step))

    def draw(self, step: int, name: str, picture: Tensor) -> None:
        """A picture [3,H,W] uint8 RGB."""
        self._add(Event(summary=summary.image(name, picture, dataformats="CHW"), step=step))

    def close(self) -> None:
        self._events.close()
        self._lines.close()

    def _add(self, event: Event) -> None:
        """TensorBoard's own writer works in a thread, which says on its own what it cannot write."""
        event.wall_time = time.time()
        with _telling(Path(self._events.name)):
            RecordWriter(self._events).write(event.SerializeToString())


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a record is written into an error that names its file."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def _remove_half_line(path: Path) -> None:
    """A training that was killed while it wrote a line must not spoil the first one of its resumption."""
    if path.exists():
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        with path.open("r+b") as file:
            file.truncate(len(whole + newline))
