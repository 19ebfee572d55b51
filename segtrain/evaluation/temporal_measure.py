"""Measure temporal consistency beside an evaluation: the frames around annotated ones are segmented in the same way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.ahead import ahead
from jobs.console.tables import Table
from jobs.console.values import counted
from jobs.training.runtime import Runtime
from propagate.carry.opened import read_label_of
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, Label
from propagate.errors import PropagateError
from sdcnet.motion.estimator import MotionEstimator
from segtrain.errors import DataError
from segtrain.evaluation.clips import published_names
from segtrain.evaluation.consistency import HEADS, Consistency
from segtrain.evaluation.report import LeftOut
from segtrain.evaluation.temporal import ClipCounts, ClipTally, pair_of
from segtrain.evaluation.temporal_settings import TemporalSettings
from segtrain.inference import Inference, Network, segment

NUM_AHEAD = 2  # frames that are read while the network computes
NUM_DIGITS = 16


class TemporalMeasure:
    """The temporal consistency of a network on clips.

    network: in evaluation mode, on the runtime's device. clips: of two frames or more, as `clips.clips_around` gives
    them. labels: of frames in succession, by their keys, for the consistency of the truth. inference: as that of the
    evaluation beside it.
    """

    def __init__(
        self,
        network: Network,
        classes: ClassTable,
        clips: Sequence[Clip],
        labels: Mapping[str, Label],
        estimator: MotionEstimator,
        settings: TemporalSettings,
        inference: Inference,
        runtime: Runtime,
    ) -> None:
        self._network, self._classes, self._labels = network, classes, labels
        self._clips = {clip.key: clip for clip in clips}
        self._estimator, self._settings = estimator, settings
        self._inference, self._runtime = inference, runtime
        self._counts: list[ClipCounts] = []
        self._failures: list[LeftOut] = []

    def add(self, key: str, found: np.ndarray) -> None:
        """Segment the frames around an annotated one, by whose key a clip may be known, and count along them.

        found: [H,W] uint8 train ids of the annotated frame, which is not segmented again. A clip of which a frame is
        missing or cannot be read is a failure of the report. In memory are as many frames as are read ahead.
        Raises: InferenceError, where the network cannot segment a frame; MotionError, where it is too small.
        """
        if key not in self._clips:
            return
        try:
            self._counts.append(self._counted(self._clips[key], found))
        except (PropagateError, DataError) as error:
            self._failures.append(LeftOut(image=key, reason=f"consistency of {key}: {error}"))

    def report(self) -> "TemporalReport":
        """All that was counted."""
        return TemporalReport(
            consistency=Consistency(
                class_names=self._classes.train_names,
                clips=tuple(self._counts),
                as_published=self._settings.as_published,
            ),
            settings=self._settings,
            motion=dict(self._estimator.fingerprint),
            inference=self._inference,
            failures=tuple(self._failures),
        )

    def _counted(self, clip: Clip, found: np.ndarray) -> ClipCounts:
        _require_whole(clip, self._settings)
        tally = ClipTally(clip.key, len(self._classes.train_names))
        before: Tensor | None = None
        for offset, pixels, truth in ahead(self._read(clip, (found.shape[0], found.shape[1])), NUM_AHEAD):
            frame = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
            labels = found if offset == 0 else segment(self._network, pixels, self._inference, self._runtime)
            published = self._settings.as_published
            pair = None if before is None else pair_of(before, frame, self._estimator, as_published=published)
            tally.add(labels, truth, pair)
            before = frame
        return tally.clip()

    def _read(self, clip: Clip, size: tuple[int, int]) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        """Offsets, frames [H,W,3] uint8 RGB and their train ids, if any. Raises: InputError, DataError."""
        for offset, frame in sorted(clip.frames.items()):
            pixels = frame.pixels()
            if pixels.shape[:2] != size:
                raise DataError(
                    f"{frame.where}: a frame of {pixels.shape[0]}x{pixels.shape[1]}, but the annotated one of its clip "
                    f"is of {size[0]}x{size[1]}; frames of a sequence must have one size: scale one of them"
                )
            yield offset, pixels, truth_of(self._labels.get(frame.key), size, self._classes)


def truth_of(label_map: Label | None, size: tuple[int, int], classes: ClassTable) -> np.ndarray | None:
    """The train ids of a frame of size (H, W), [H,W] uint8, if it has a label map.

    Raises: InputError where it cannot be read, and where it is of another size.
    """
    if label_map is None:
        return None
    return classes.train_id_of[read_label_of(label_map, classes, size)]


def _require_whole(clip: Clip, settings: TemporalSettings) -> None:
    """Raise DataError where frames are missing: as published, any of the snippet's."""
    if clip.missing:
        raise DataError("; ".join(clip.missing.values()))
    expected = settings.num_before + settings.num_after + 1
    if settings.as_published and len(clip.frames) < expected:
        raise DataError(
            f"the published measure takes {expected} frames, {-settings.num_before} to {settings.num_after} from the "
            f"annotated one, found {len(clip.frames)}, {min(clip.frames)} to {max(clip.frames)}; add the others"
        )


@dataclass(frozen=True, kw_only=True)
class TemporalReport:
    """What was found. motion: the fingerprint of its estimator."""

    consistency: Consistency
    settings: TemporalSettings
    motion: Mapping[str, object]
    inference: Inference
    failures: tuple[LeftOut, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, NaN among them."""
        return {
            **self.consistency.to_dict(),
            "motion": dict(self.motion),
            "before": self.settings.num_before,
            "after": self.settings.num_after,
            "inference": {**asdict(self.inference), "for": ["miou", "tc"]},
            "failures": [asdict(failure) for failure in self.failures],
        }

    def markdown(self) -> str:
        """The scores in percent, as Markdown."""
        consistency = self.consistency
        table = Table([*HEADS], [consistency.cells()])
        parts = ["## Temporal consistency", self._told(), table.markdown(), consistency.class_table().markdown()]
        if self.failures:
            parts.append("\n".join(f"- left out: {failure.reason}" for failure in self.failures))
        return "\n\n".join(parts)

    def _told(self) -> str:
        clips = self.consistency.clips
        num_pairs = sum(clip.num_pairs for clip in clips)
        of_published = f" of the {len(published_names())} published ones" if self.settings.as_published else ""
        return (
            f"TC as {'published' if self.settings.as_published else 'mIoU of labels carried to the next frame'}: "
            f"{counted(len(clips), 'clip')}{of_published}, {counted(num_pairs, 'pair')} of frames, up to "
            f"{self.settings.num_before} before and {self.settings.num_after} after the annotated one; motion "
            f"{told_motion(self.motion)}. mIoU and TC by the same inference: {told_inference(self.inference)}."
        )


def told_motion(fingerprint: Mapping[str, object]) -> str:
    """A motion's fingerprint in words: its name, and what else decides its numbers, of digests the first digits."""
    shown = {key: str(value)[:NUM_DIGITS] for key, value in fingerprint.items()}
    name, *others = (value if key == "motion" else f"{key} {value}" for key, value in shown.items())
    return f"{name} ({', '.join(others)})" if others else name


def told_inference(inference: Inference) -> str:
    """How a network is given images, in words."""
    scales = ", ".join(f"{scale:g}" for scale in inference.scales)
    window = inference.window
    seen = "whole images" if window is None else f"windows of {window[0]}x{window[1]}"
    mirrored = "mirrored too" if inference.flip else "not mirrored"
    return f"{'scale' if len(inference.scales) == 1 else 'scales'} {scales}, {mirrored}, {seen}"
