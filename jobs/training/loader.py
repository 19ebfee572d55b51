"""Batches of samples, in order, read ahead by processes beside the training."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from jobs.errors import FitError

Key = TypeVar("Key")
Sample = TypeVar("Sample")
Batch = TypeVar("Batch")

AHEAD = 4  # batches that each process reads before they are asked for


class _Readings(Dataset[Sample | Exception], Generic[Key, Sample]):
    """Samples, or why there are none: an error that another process raises does not keep its type."""

    def __init__(self, read: Callable[[Key], Sample], caught: tuple[type[Exception], ...]) -> None:
        self._read, self._caught = read, caught

    def __getitem__(self, key: Key) -> Sample | Exception:
        try:
            return self._read(key)
        except self._caught as error:
            return error


class _Collate(Generic[Sample, Batch]):
    """Samples as a batch; the first error instead, if there is any."""

    def __init__(self, collate: Callable[[list[Sample]], Batch]) -> None:
        self._collate = collate

    def __call__(self, readings: Sequence[Sample | Exception]) -> Batch | Exception:
        samples: list[Sample] = []
        for reading in readings:
            if isinstance(reading, Exception):
                return reading
            samples.append(reading)
        return self._collate(samples)


def load_batches(
    read: Callable[[Key], Sample],
    batches: Iterable[Sequence[Key]],
    collate: Callable[[list[Sample]], Batch],
    *,
    caught: tuple[type[Exception], ...],
    num_workers: int,
    pinned: bool,
) -> Iterator[Batch]:
    """The batches of these keys, in order, read ahead by `num_workers` processes, or in this one with 0.

    read, collate: picklable. caught: the errors of `read` that are raised here, in place of the batch, as they were.
    pinned: copied to page-locked memory, from where a GPU takes them without waiting.
    Raises: what is caught; FitError where such a process is killed.
    """
    loader = DataLoader(
        _Readings(read, caught),
        batch_sampler=batches,  # type: ignore[arg-type]  # keys of any kind will do
        num_workers=num_workers,
        collate_fn=_Collate(collate),
        pin_memory=pinned,
        prefetch_factor=AHEAD if num_workers else None,
        worker_init_fn=_begin_reader,
        generator=torch.Generator(),  # its own, so that it draws nothing from the global one
    )
    try:
        for batch in loader:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise FitError(
            f"a process that reads samples ended ({str(error).rstrip('. ')}), as happens where memory runs out; choose "
            "fewer --loader-workers, or in docker a larger --shm-size"
        ) from None


def _begin_reader(_: int) -> None:
    """The processes are what works side by side: threads of OpenCV in each would only get in each other's way.

    Ctrl-C reaches all processes of a terminal: the training ends its readers itself.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
