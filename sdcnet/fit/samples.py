"""What a training step sees: windows of consecutive frames, cropped, mirrored, reversed, with the flows between them.

A sample follows from (seed, step, index) alone: never from the number of workers, from what was read before, or from
a restart.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jobs.errors import FitError
from jobs.training import loader
from sdcnet.errors import SdcnetError
from sdcnet.frames.sequence import FrameSequence
from sdcnet.motion.pair_flow import PairFlow

Key = tuple[int, int]  # a step, and an index in its batch


class Batch(NamedTuple):
    """Windows of frames [B,T,3,H,W] uint8 RGB, oldest first, the target last, and the flows [B,S-1,2,H,W] float32
    between the S first of them, which are those that the network sees.

    Flow i is the backward flow from frame i+1 to frame i, in pixels. There are none where the step computes them.
    """

    frames: Tensor
    flows: Tensor | None


@dataclass(frozen=True)
class Draw:
    """Where a sample lies, and how it is changed."""

    sequence: int
    start: int
    top: int
    left: int
    mirrored: bool
    reversed: bool


class Windows:
    """All windows of `length` consecutive frames in some sequences, in their order."""

    def __init__(self, sequences: Sequence[FrameSequence], length: int) -> None:
        """Raises: FitError where no sequence is long enough."""
        self.sequences, self.length = sequences, length
        self._ends = list(accumulate(max(0, len(sequence) - length + 1) for sequence in sequences))
        if not self._ends or not self._ends[-1]:
            longest = max((len(sequence) for sequence in sequences), default=0)
            raise FitError(
                f"the longest of {len(sequences)} sequences has {longest} frames, expected {length}: the history and "
                "its target; give longer sequences, or a smaller --history"
            )

    def __len__(self) -> int:
        return self._ends[-1]

    def place(self, number: int) -> tuple[int, int]:
        """Window `number` as (index of its sequence, its first frame)."""
        sequence = bisect_right(self._ends, number)
        return sequence, number - (self._ends[sequence - 1] if sequence else 0)

    def draw(self, seed: int, key: Key, crop: tuple[int, int]) -> Draw:
        """The random choices of one sample: every window is as likely as any other, so is every place in it."""
        random = np.random.default_rng((seed, *key))
        sequence, start = self.place(int(random.integers(len(self))))
        height, width = self.sequences[sequence].size
        top = int(random.integers(height - crop[0] + 1))
        left = int(random.integers(width - crop[1] + 1))
        mirrored, reverse = random.integers(2, size=2).astype(bool).tolist()
        return Draw(sequence, start, top, left, mirrored, reverse)


class Samples:
    """The samples of a training, by (step, index), as batches of one.

    num_seen: frames of a window that the network sees. flows: computes the flows between them where the samples are
    read; None leaves that to the step.
    Raises: FitError where a sequence is smaller than the crop.
    """

    def __init__(
        self, windows: Windows, num_seen: int, crop: tuple[int, int], seed: int, flows: PairFlow | None
    ) -> None:
        for sequence in windows.sequences:
            if sequence.size[0] < crop[0] or sequence.size[1] < crop[1]:
                found, wanted = (f"{height}x{width}" for height, width in (sequence.size, crop))
                raise FitError(
                    f"{sequence.name}: frames of {found} are smaller than the crop of {wanted}; lower --crop"
                )
        self._windows, self._num_seen, self._crop, self._seed, self._flows = windows, num_seen, crop, seed, flows
        self._open: FrameSequence | None = None

    def __getitem__(self, key: Key) -> Batch:
        draw = self._windows.draw(self._seed, key, self._crop)
        sequence = self._windows.sequences[draw.sequence]
        if self._open not in (None, sequence):
            self._open.close()  # a decoder holds tens of megabytes
        self._open = sequence
        window = sequence.frames(draw.start, draw.start + self._windows.length)
        return one_batch(cropped(window, draw, self._crop), self._num_seen, self._flows)

    def describe(self, key: Key) -> str:
        """Where a sample comes from, for people."""
        draw = self._windows.draw(self._seed, key, self._crop)
        return f"{self._windows.sequences[draw.sequence].name}, frames from {draw.start} on, {draw}"


def cropped(frames: Tensor, draw: Draw, crop: tuple[int, int]) -> Tensor:
    """[T,3,H,W] -> [T,3,*crop]: the part that was drawn, mirrored and in reverse order where that was drawn."""
    frames = frames[..., draw.top : draw.top + crop[0], draw.left : draw.left + crop[1]]
    axes = [axis for axis, turned in ((0, draw.reversed), (3, draw.mirrored)) if turned]
    return frames.flip(axes).contiguous()


def one_batch(frames: Tensor, num_seen: int, flows: PairFlow | None) -> Batch:
    """A batch of one window [T,3,H,W]; with the flows between the frames that are seen, if something computes them."""
    seen = frames[:num_seen]
    return Batch(frames[None], None if flows is None else flows(seen[1:], seen[:-1])[None])


class StepKeys:
    """For each step to come, the keys of one member's share of its samples."""

    def __init__(self, steps: range, share: range) -> None:
        self._steps, self.share = steps, share

    def __iter__(self) -> Iterator[list[Key]]:
        return ([(step, index) for index in self.share] for step in self._steps)

    def __len__(self) -> int:
        return len(self._steps)


def load_batches(samples: Samples, keys: StepKeys, *, num_workers: int, pinned: bool) -> Iterator[Batch]:
    """The batches of these steps, in order, read ahead by processes of their own. Raises: FrameError, MotionError."""
    return loader.load_batches(
        samples.__getitem__, keys, _collate, caught=(SdcnetError,), num_workers=num_workers, pinned=pinned
    )


def _collate(samples: Sequence[Batch]) -> Batch:
    """Batches of one as one batch."""
    flows = [sample.flows for sample in samples if sample.flows is not None]
    return Batch(torch.cat([sample.frames for sample in samples]), torch.cat(flows) if flows else None)
