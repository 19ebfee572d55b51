"""The samples of an opened clip of a store, whose carried labels a network has a say in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from jobs.errors import ComputeError
from jobs.training.runtime import open_runtime
from jobs.training.weights import digest
from propagate.carry.opened import OpenClip, OpenFrame
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.sample import CONFIDENCE_LEVELS, FUSED, PROPAGATED, REFINED, Sample, quantize_confidence
from propagate.errors import InputError
from propagate.job.making import Notes
from propagate.shards.manifest import Failure
from segtrain.errors import InferenceError
from segtrain.inference import probabilities
from segtrain.pseudo.labelling import Teacher
from segtrain.refine.fusion import fuse
from segtrain.refine.stored import StoredClip

CARRIED = (PROPAGATED, FUSED)  # of these origins are the samples that are refined; others are copied
LABELLED, CHANGED, DOUBTED = "labelled", "changed", "doubted"  # what is counted: pixels with a carried label, of these


@dataclass(frozen=True, kw_only=True)
class Refining:
    """A `Making` whose samples are those of a store, refined by a network.

    shares: by train id, how much of all labelled pixels of the store each class has. doubt: the least probability of a
    label that is kept. images: how the store holds frames.
    """

    teacher: Teacher
    shares: tuple[float, ...]
    doubt: float
    images: str
    is_network = True
    reads_vectors = False

    @property
    def device(self) -> str:
        return self.teacher.device

    def open(self, classes: ClassTable) -> "Refiner":
        return Refiner(self, classes)

    def fingerprint(self) -> dict[str, object]:
        """What decides what comes out, beside the store, as plain values."""
        return {**self.teacher.fingerprint(), "doubt": self.doubt, "images": self.images}


class Refiner:
    """A `Maker` that owns the network."""

    def __init__(self, refining: Refining, classes: ClassTable) -> None:
        teacher = refining.teacher
        self._runtime = open_runtime(teacher.device, teacher.dtype)
        self._network, self._inference = teacher.opened(self._runtime, classes).network, teacher.inference
        self._refining, self._classes = refining, classes
        self._shares = torch.tensor(refining.shares)
        self.fingerprint: Mapping[str, object] = {"teacher": digest(teacher.weights)}
        self.transfers = self._runtime.transfers

    def __call__(self, opened: OpenClip, notes: Notes) -> Iterator[Sample]:
        """The samples of a clip, outwards; one that fails is left out."""
        clip = opened.clip
        assert isinstance(clip, StoredClip)
        notes.failures.extend(opened.failures)
        for offset in (offset for offset in opened.pictures if offset in clip.samples):
            try:
                yield self._sample(clip, offset, opened.pictures[offset], notes)
            except (InputError, InferenceError, ComputeError) as error:
                reason = f"{clip.samples[offset].where}: {error}"
                notes.failures.append(Failure(clip=clip.key, offset=offset, reason=reason))

    def _sample(self, clip: StoredClip, offset: int, picture: OpenFrame, notes: Notes) -> Sample:
        """Raises: InputError, InferenceError, ComputeError."""
        sample = clip.samples[offset].sample()
        if sample.origin in CARRIED:
            with notes.watch("predict"):
                sample = self._refined(sample, picture, notes)
        with notes.watch("encode"):
            return replace(sample, image=picture.stored(self._refining.images))

    def _refined(self, sample: Sample, picture: OpenFrame, notes: Notes) -> Sample:
        carried = self._classes.train_id_of[sample.label]
        sure = sample.confidence.astype(np.float32) / (CONFIDENCE_LEVELS - 1)
        labels, confidence = carried.copy(), sure.copy()
        image = np.ascontiguousarray(picture.pixels[0].permute(1, 2, 0).numpy())
        for block in probabilities(self._network, image, self._inference, self._runtime):
            there, device = block.slices, block.probabilities.device
            own, level = (torch.from_numpy(each[there]).to(device) for each in (carried, sure))
            labels[there], confidence[there] = fuse(block.probabilities, own, level, self._shares.to(device))
        has_label = carried != IGNORE_TRAIN_ID
        changed = labels != carried
        doubted = has_label & (confidence < self._refining.doubt)
        for name, pixels in ((LABELLED, has_label), (CHANGED, changed & ~doubted), (DOUBTED, doubted)):
            notes.counts[name] += int(pixels.sum())
        label = np.where(changed, self._classes.id_of_train_id[labels], sample.label).astype(np.uint8)
        levels = quantize_confidence(torch.from_numpy(confidence)).numpy()
        return replace(
            sample,
            origin=REFINED,
            label=np.where(doubted, np.uint8(self._classes.ignore_id), label),
            confidence=np.where(has_label, levels, sample.confidence),
        )
