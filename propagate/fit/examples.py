"""What a corrector learns from: frames that labels were carried to, and whose labels are known.

Where those of a neighbour are known, labels are carried to it as ever. Otherwise they are carried out to it, and back
to their annotated frame: where they come back as others, they were carried wrongly. That takes no more labels than
there are.

Reference for the cycle: Ganeshan et al., "Warp-Refine Propagation", ICCV 2021.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from jobs.errors import ComputeError
from jobs.timing import Stopwatch
from propagate.carry.carried import Carried, judged
from propagate.carry.confidence import match
from propagate.carry.correction import evidence_of
from propagate.carry.opened import OpenClip, OpenFrame, open_clip, read_label_of
from propagate.carry.paths import CarryingPath
from propagate.carry.voting import Side, vote
from propagate.carry.walk import walk
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.clip import Clip, Label
from propagate.errors import InputError
from sdcnet.errors import SdcnetError
from sdcnet.geometry import warp_labels
from sdcnet.motion.estimator import MotionEstimator

MOST_WINDOWS = 4  # of one frame that are kept

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A frame, or a window of one, and what is known of it.

    frame: [3,H,W] uint8 RGB. classes: that were carried to it, and truth: that it has, [H,W] uint8 train ids. evidence:
    what a corrector is told of them, [NUM_EVIDENCE,H,W] float16.
    """

    frame: Tensor
    classes: Tensor
    truth: Tensor
    evidence: Tensor

    @property
    def wrong(self) -> Tensor:
        """[H,W] bool: where labels are wrong that could be right."""
        known = (self.classes != IGNORE_TRAIN_ID) & (self.truth != IGNORE_TRAIN_ID)
        return known & (self.classes != self.truth)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An annotated frame, and the neighbours at whose offsets labels are carried to, or from where back."""

    clip: Clip
    offsets: tuple[int, ...]

    @property
    def keys(self) -> list[str]:
        """Of these neighbours."""
        return [self.clip.frames[offset].key for offset in self.offsets]


def wanted_examples(clips: Sequence[Clip], most: int, seed: int) -> list[Wanted]:
    """Which examples to make, at most so many: all annotated frames have one before any has another."""
    random = np.random.default_rng(seed)
    there = [clip for clip in clips if clip.label is not None and len(clip.frames) > 1]
    drawn = [there[place] for place in random.permutation(len(there))]
    left = [random.permutation([offset for offset in clip.frames if offset]).tolist() for clip in drawn]
    rounds = ((place, offsets[turn]) for turn in count() for place, offsets in enumerate(left) if turn < len(offsets))
    taken: dict[int, list[int]] = {}
    for place, offset in islice(rounds, min(most, sum(map(len, left)))):
        taken.setdefault(place, []).append(offset)
    return [Wanted(clip=drawn[place], offsets=tuple(sorted(offsets))) for place, offsets in taken.items()]


@dataclass(frozen=True, kw_only=True)
class ExampleMaker:
    """Makes the examples of clips, each a whole frame. known: the label maps that there are of frames, by key."""

    classes: ClassTable
    estimator: MotionEstimator
    path: CarryingPath
    reads_vectors: bool
    known: Mapping[str, Label]

    def __call__(self, wanted: Wanted) -> list[Example]:
        """What cannot be read or estimated is left out, and logged."""
        clip = wanted.clip
        opened = open_clip(clip, self.classes, Stopwatch(), with_vectors=self.reads_vectors)
        for failure in opened.failures:
            _log.warning("%s: left out: %s", failure.clip, failure.reason)
        examples: list[Example] = []
        if 0 not in opened.pictures:
            return examples
        for direction in (1, -1):
            offsets = [offset for offset in wanted.offsets if offset in opened.pictures and offset * direction > 0]
            try:
                for made in self._made(opened, offsets):
                    examples.append(self._example(*made))  # what came before a failure is kept
            except (SdcnetError, ComputeError, InputError) as error:
                _log.warning("%s: left out: %s", clip.key, error)
        return examples

    def _made(self, opened: OpenClip, offsets: Sequence[int]) -> Iterator[tuple[Carried, OpenFrame, np.ndarray]]:
        """Of each offset, all in one direction: what was carried, the frame it was carried to, and its label map."""
        pictures, annotated = opened.pictures, torch.from_numpy(opened.label)[None, None]
        for offset, out in self._carried(pictures, 0, offsets, annotated):
            truth = self.known.get(opened.clip.frames[offset].key)
            if truth is not None:
                yield out, pictures[offset], read_label_of(truth, self.classes, pictures[offset].size)
                continue
            for _, back in self._carried(pictures, offset, [0], self.path.to_host(out.label)):
                yield back, pictures[0], opened.label

    def _carried(
        self, pictures: Mapping[int, OpenFrame], start: int, ends: Sequence[int], label: Tensor
    ) -> Iterator[tuple[int, Carried]]:
        """The labels of the frame at `start`, [1,1,H,W] uint8, at frames in one direction."""
        to_device = self.path.to_device
        seen = {
            offset - start: replace(picture, pixels=to_device(picture.pixels)) for offset, picture in pictures.items()
        }
        if not ends:
            return
        label, frame = to_device(label), seen[0].pixels
        far = max((end - start for end in ends), key=abs)
        for displacement in walk(seen, 1 if far > 0 else -1, self.estimator, self.path):
            end = displacement.offset + start
            if end in ends:
                target, flow = seen[displacement.offset].pixels, displacement.flow
                side = Side(frame, label, flow, match(flow, target, frame, self.path), [abs(displacement.offset)])
                found = vote(target, [side], self.path) if self.estimator.refinable else warp_labels(label, flow)
                yield end, judged(found, [side], self.path)
            if displacement.offset == far:
                return

    def _example(self, carried: Carried, frame: OpenFrame, truth: np.ndarray) -> Example:
        train_id_of = torch.from_numpy(self.classes.train_id_of)
        return Example(
            frame=frame.pixels[0],
            classes=train_id_of[self.path.to_host(carried.label)[0, 0].long()],
            truth=train_id_of[torch.from_numpy(truth).long()],
            evidence=self.path.to_host(evidence_of(carried))[0].half(),
        )


def windows(example: Example, size: tuple[int, int], random: np.random.Generator) -> Iterator[Example]:
    """Some windows of (H, W), around wrong pixels: as many as would cover the frame, but at most MOST_WINDOWS."""
    height, width = example.truth.shape
    for _ in range(min(MOST_WINDOWS, math.ceil(height / size[0]) * math.ceil(width / size[1]))):
        yield cut(example, place_of(example, size, random), size)


def place_of(example: Example, size: tuple[int, int], random: np.random.Generator) -> tuple[int, int]:
    """Where to cut a window of (H, W) or less: (top, left). Around a wrong pixel, if any, of a class that is drawn."""
    wrong = example.wrong
    found = example.truth[wrong].unique()
    height, width = wrong.shape
    limits = max(0, height - size[0]), max(0, width - size[1])
    if not len(found):
        return int(random.integers(limits[0] + 1)), int(random.integers(limits[1] + 1))
    places = (wrong & (example.truth == found[random.integers(len(found))])).nonzero()
    y, x = places[random.integers(len(places))].tolist()
    top, left = y - int(random.integers(size[0])), x - int(random.integers(size[1]))
    return min(max(top, 0), limits[0]), min(max(left, 0), limits[1])


def cut(example: Example, place: tuple[int, int], size: tuple[int, int]) -> Example:
    """The window of (H, W) at (top, left), or what there is of it; a copy."""
    rows, columns = (slice(start, start + side) for start, side in zip(place, size, strict=True))
    maps = (example.frame, example.classes, example.truth, example.evidence)
    return Example(*(each[..., rows, columns].clone() for each in maps))
