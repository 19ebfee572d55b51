"""An opened clip to samples whose labels a network predicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jobs.errors import ComputeError
from jobs.training.runtime import Runtime, open_runtime
from jobs.training.weights import digest
from propagate.carry.opened import OpenClip, OpenFrame
from propagate.data.classes import ClassTable
from propagate.data.sample import MATCHED, PSEUDO, Sample, quantize_confidence
from propagate.job.making import Notes
from propagate.shards.manifest import Failure
from sdcnet.errors import MotionError, SdcnetError
from sdcnet.motion.estimator import Step
from sdcnet.motion.registry import PREDICTORS, MotionSettings, open_estimator
from segtrain.errors import InferenceError
from segtrain.inference import Segmentation, segment_with_confidence
from segtrain.inference_settings import DEFAULT_OVERLAP, Inference
from segtrain.pseudo.agreement import Verdict, contradicted, verdict_of
from segtrain.pseudo.clips import Stretch, wanted_offsets
from segtrain.trained import TrainedNetwork, open_trained

FOUND, SURE, KEPT = "found", "sure", "kept"  # what is counted of each class: pixels by how far their labels came


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network that predicts labels, how it is given frames, and where it computes."""

    weights: Path
    inference: Inference
    architecture: str | None = None
    device: str = "auto"
    dtype: str = "float32"

    def opened(self, runtime: Runtime, classes: ClassTable | None) -> TrainedNetwork:
        """The network, ready to compute. Raises: CheckpointError, also where it knows other classes."""
        return open_trained(self.weights, runtime, architecture=self.architecture, classes=classes)

    def fingerprint(self) -> dict[str, object]:
        """What decides what it predicts, as plain values. Raises: CheckpointError."""
        inference = self.inference
        return {
            "teacher": digest(self.weights),
            "teacher_dtype": self.dtype,
            "scales": list(inference.scales),
            "flip": inference.flip,
            "window": None if inference.window is None else list(inference.window),
            # no part of stores that were begun before it could be chosen
            **({} if inference.overlap == DEFAULT_OVERLAP else {"overlap": inference.overlap}),
        }


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """A `Making`: whose labels are predicted, and which of them are kept.

    thresholds: by train id, the least probability of a label. beyond: offsets up to this get none, nor does an
    annotated frame. motion: along which frames beside each other have to agree; None: they need not.
    """

    teacher: Teacher
    thresholds: tuple[float, ...]
    beyond: int = 0
    motion: MotionSettings | None = None
    images: str = "encoded"
    is_network = True

    def __post_init__(self) -> None:
        if self.motion is not None and self.motion.name in PREDICTORS:
            raise MotionError(
                f"motion '{self.motion.name}' is made of several frames before, and agreement needs that of pairs; "
                "choose another, such as --motion dis"
            )

    @property
    def device(self) -> str:
        return self.teacher.device

    @property
    def reads_vectors(self) -> bool:
        return self.motion is not None and self.motion.reads_vectors

    def open(self, classes: ClassTable) -> "Labeller":
        return Labeller(self, classes)

    def fingerprint(self) -> dict[str, object]:
        """What decides what comes out, as plain values. Opens files of weights.

        Raises: MotionError, CheckpointError, where they cannot be used.
        """
        motion = self.motion
        if motion is not None and motion.is_network:
            motion = replace(motion, device="cpu")  # the device does not decide what is computed
        return {
            **self.teacher.fingerprint(),
            "images": self.images,
            "temporal_filter": motion is not None,
            **({} if motion is None else open_estimator(motion).fingerprint),
        }


class _Frame(NamedTuple):
    """A frame of a clip, and what was predicted of it."""

    offset: int
    picture: OpenFrame
    found: Segmentation


class Labeller:
    """A `Maker` that owns the teacher, and the estimator of motion, if frames have to agree."""

    def __init__(self, labelling: Labelling, classes: ClassTable) -> None:
        teacher = labelling.teacher
        self._runtime = open_runtime(teacher.device, teacher.dtype)
        self._network, self._inference = teacher.opened(self._runtime, classes).network, teacher.inference
        self._labelling, self._classes = labelling, classes
        self._estimator = None if labelling.motion is None else open_estimator(labelling.motion)
        motion: Mapping[str, object] = {} if self._estimator is None else self._estimator.fingerprint
        self.fingerprint: Mapping[str, object] = {"teacher": digest(teacher.weights), **motion}
        self.transfers = self._runtime.transfers
        self._least = np.array(labelling.thresholds, np.float32)

    def __call__(self, opened: OpenClip, notes: Notes) -> Iterator[Sample]:
        """The samples of a clip, outwards; a frame that fails is left out."""
        notes.failures.extend(opened.failures)
        wanted = [n for n in wanted_offsets(opened.clip, self._labelling.beyond) if n in opened.pictures]
        middle: dict[int, _Frame] = {}
        for direction in (1, -1):
            offsets = [n for n in wanted if n * direction > 0 or (direction > 0 and n == 0)]
            inner = self._labelling.beyond * direction
            is_judged_by = bool(offsets) and self._estimator is not None and inner in opened.pictures
            if is_judged_by and inner not in offsets:
                offsets.insert(0, inner)
            yield from self._outwards(opened, offsets, wanted, middle, notes)

    def segment(self, pixels: np.ndarray) -> Segmentation:
        """[H,W,3] uint8 RGB -> what the teacher finds. Raises: InferenceError."""
        return segment_with_confidence(self._network, pixels, self._inference, self._runtime)

    def _outwards(
        self,
        opened: OpenClip,
        offsets: Sequence[int],
        wanted: Sequence[int],
        middle: dict[int, _Frame],
        notes: Notes,
    ) -> Iterator[Sample]:
        """The samples at offsets, of those that are wanted; by those beside them, also the others, they are judged.

        middle: keeps the frame at offset 0, from which both directions may begin.
        """
        before: _Frame | None = None
        verdicts: list[Verdict] = []
        for offset in offsets:
            try:
                frame = middle.get(offset) or self._predict(opened, offset, notes)
                said_of_both = self._judge(opened, before, frame, notes)
            except (InferenceError, ComputeError, SdcnetError) as error:
                reason = f"{opened.clip.frames[offset].where}: {error}"
                notes.failures.append(Failure(clip=opened.clip.key, offset=offset, reason=reason))
                continue
            if before is not None and before.offset in wanted:
                yield self._sample(opened, before, [*verdicts, *said_of_both[:1]], notes)
            before, verdicts = frame, said_of_both[1:]
            if offset == 0:
                middle[0] = frame
        if before is not None and before.offset in wanted:
            yield self._sample(opened, before, verdicts, notes)

    def _predict(self, opened: OpenClip, offset: int, notes: Notes) -> _Frame:
        picture = opened.pictures[offset]
        with notes.watch("predict"):
            return _Frame(offset, picture, self.segment(_pixels(picture)))

    def _judge(self, opened: OpenClip, before: _Frame | None, frame: _Frame, notes: Notes) -> list[Verdict]:
        """What the frame says of the one before, and that of it; nothing where they are not side by side."""
        if before is None or self._estimator is None:
            return []
        order = sorted(opened.clip.frames)
        if abs(order.index(frame.offset) - order.index(before.offset)) != 1:
            return []
        pair = {each.offset: each.picture for each in (before, frame)}
        if (transfers := self._estimator.transfers) is not None:
            pair = {n: replace(picture, pixels=transfers.to_device(picture.pixels)) for n, picture in pair.items()}
        steps = [Step((frame.offset,), before.offset), Step((before.offset,), frame.offset)]
        with notes.watch("motion"):
            to_frame, to_before = (flow.cpu() for flow in self._estimator.estimate(pair, steps))
        one, other = before.found.labels, frame.found.labels
        return [verdict_of(one, other, to_frame, to_before), verdict_of(other, one, to_before, to_frame)]

    def _sample(self, opened: OpenClip, frame: _Frame, verdicts: Sequence[Verdict], notes: Notes) -> Sample:
        clip, (found, confidence) = opened.clip, frame.found
        sure = confidence >= self._least[found]
        kept = sure & ~contradicted(verdicts, found.shape)
        for stage, pixels in ((FOUND, found), (SURE, found[sure]), (KEPT, found[kept])):
            counts = np.bincount(pixels.ravel(), minlength=len(self._least))
            notes.counts.update({f"{stage} {train_id}": int(count) for train_id, count in enumerate(counts)})
        label_ids = self._classes.id_of_train_id[found].astype(np.uint8)
        levels = quantize_confidence(torch.from_numpy(confidence)).numpy()
        with notes.watch("encode"):
            image = frame.picture.stored(self._labelling.images)
        begins_with, start = (clip.begins_with, clip.start) if isinstance(clip, Stretch) else ("", -frame.offset)
        return Sample(
            key=clip.frames[frame.offset].key,
            source_key=clip.key,
            group=clip.group,
            offset=frame.offset,
            pairing="label",
            origin=PSEUDO,
            second_source_key=begins_with,
            second_offset=start + frame.offset,
            image=image,
            label=np.where(kept, label_ids, np.uint8(self._classes.ignore_id)),
            confidence=np.where(kept, levels, np.uint8(0)),
            reason=np.full(found.shape, MATCHED, np.uint8),
        )


def _pixels(picture: OpenFrame) -> np.ndarray:
    """[H,W,3] uint8 RGB."""
    pixels: Tensor = picture.pixels[0].permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())
