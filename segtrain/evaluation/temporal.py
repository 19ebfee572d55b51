"""How consistent labels are in time: those of a frame, carried to the next one, against what is found there.

Reference: Liu et al., "Efficient Semantic Video Segmentation with Per-frame Inference", ECCV 2020.
Deviation: labels are resampled from the nearest pixel, and only the pixels count that both frames show. `as_published`
is the released program's form instead, defects included: it carries the labels of the later frame to the earlier one,
blends class ids, and counts every pixel.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.scoring.metrics import confusion
from sdcnet.geometry import endpoints, is_seen, pixel_before, warp_labels
from sdcnet.motion.estimator import MotionEstimator, ObservedPixels, flow_between
from sdcnet.motion.registry import MotionSettings, open_estimator


class Pair(NamedTuple):
    """Of two frames in their order, the way by which labels are carried from one, the source, to the other, the target.

    flow_target_to_source: [1,2,H,W] float32 pixels, on the host. is_counted: [H,W] bool, pixels of the target.
    as_published: the target is the earlier one, else the later one.
    """

    flow_target_to_source: Tensor
    is_counted: Tensor
    as_published: bool = False


def temporal_motion() -> MotionEstimator:
    """That of schemes and trainings: none has a hand in it, whichever motion it uses itself."""
    return open_estimator(MotionSettings(name="dis"))


def pair_of(earlier: Tensor, later: Tensor, estimator: MotionEstimator, *, as_published: bool = False) -> Pair:
    """The way between two frames, [1,3,H,W] uint8 RGB, on the host; the pixels that both show count, or all of them."""
    source, target = (ObservedPixels(frame) for frame in ((later, earlier) if as_published else (earlier, later)))
    flow = flow_between(estimator, source, target)
    if as_published:
        return Pair(flow.cpu(), torch.ones(flow.shape[-2:], dtype=torch.bool), as_published)
    back = flow_between(estimator, target, source)
    return Pair(flow.cpu(), is_seen(flow, back)[0, 0].cpu())


def count_carried(pair: Pair, earlier: np.ndarray, later: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of carried against found classes [C,C+1], as in `propagate.scoring.metrics`: carried ones as the truth.

    earlier, later: [H,W] uint8 train ids; what is 255 in either of them counts as little as what the pair leaves out.
    Matrices of pairs add up, to one whose `mean_iou` is the temporal consistency.
    """
    source, found = (later, earlier) if pair.as_published else (earlier, later)
    resampled = blended_labels if pair.as_published else _nearest_labels
    carried = resampled(source, pair.flow_target_to_source)
    carried[~pair.is_counted.numpy() | (found == IGNORE_TRAIN_ID)] = IGNORE_TRAIN_ID
    return confusion(carried, found, num_classes)


def count_still(earlier: np.ndarray, later: np.ndarray, num_classes: int) -> np.ndarray:
    """As `count_carried`, of labels that stay where they are: nothing leaves the frame, so every pixel counts."""
    return confusion(np.where(later == IGNORE_TRAIN_ID, later, earlier), later, num_classes)


def count_between(
    earlier: Tensor,
    later: Tensor,
    labels: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    estimator: MotionEstimator,
) -> np.ndarray:
    """`count_carried` of two frames, [1,3,H,W] uint8 RGB on the host, and the labels of both in their order."""
    return count_carried(pair_of(earlier, later, estimator), *labels, num_classes)


def blended_labels(source: np.ndarray, flow_target_to_source: Tensor) -> np.ndarray:
    """Class ids resampled as if they were brightnesses, and cut off to whole ones: what the published measure does.

    source: [H,W] uint8; flow: [1,2,H,W] float32 -> [H,W] uint8; 255 where one of the four pixels is.

    For exact parity the weights of the corners have double precision, but for that below to the right, each product
    is rounded to single precision, and these are added up row by row. So one class alone is worn away too: the weights
    do not quite come to 1.
    """
    height, width = source.shape
    points = endpoints(flow_target_to_source)
    corner = pixel_before(points)
    (x, y), (right, down) = corner[0].numpy(), (points - corner)[0].numpy()
    xs = [(at.clip(0, width - 1).astype(np.int64)) for at in (x, x + 1)]
    ys = [(at.clip(0, height - 1).astype(np.int64)) for at in (y, y + 1)]
    left, up = 1 - right.astype(np.float64), 1 - down.astype(np.float64)
    blended = np.zeros(source.shape, np.float32)
    is_void = np.zeros(source.shape, bool)
    for row, of_row in zip(ys, (up, down), strict=True):
        for column, of_column in zip(xs, (left, right), strict=True):
            labels = source[row, column]
            blended += (of_column * of_row * labels.astype(np.float32)).astype(np.float32)
            is_void |= labels == IGNORE_TRAIN_ID
    carried = blended.astype(np.uint8)
    carried[is_void] = IGNORE_TRAIN_ID
    return carried


def _nearest_labels(source: np.ndarray, flow_target_to_source: Tensor) -> np.ndarray:
    return warp_labels(torch.from_numpy(source)[None, None], flow_target_to_source)[0, 0].numpy()


@dataclass(frozen=True, kw_only=True)
class ClipCounts:
    """What was counted along one clip, over its pairs of frames.

    counts: as `count_carried`, still: as `count_still` gives them, [C,C+1] each. truth: as counts, of the truth itself,
    where both frames of a pair are annotated. num_pixels: of all pairs, counted or not.
    """

    key: str
    counts: np.ndarray
    still: np.ndarray
    truth: np.ndarray
    num_pairs: int
    num_pixels: int


class ClipTally:
    """Counts along a clip, frame after frame; of those before only the last one's labels are kept."""

    def __init__(self, key: str, num_classes: int) -> None:
        self._key, self._num_classes = key, num_classes
        self._counts, self._still, self._truth = np.zeros((3, num_classes, num_classes + 1), np.int64)
        self._num_pairs = self._num_pixels = 0
        self._last: tuple[np.ndarray, np.ndarray | None] | None = None

    def add(self, labels: np.ndarray, truth: np.ndarray | None, pair: Pair | None) -> None:
        """The next frame: what was found in it, and its truth, if any, [H,W] uint8 train ids both.

        pair: the way between the frame before and this one; None for the first.
        """
        if self._last is not None and pair is not None:
            before, truth_before = self._last
            self._counts += count_carried(pair, before, labels, self._num_classes)
            self._still += count_still(before, labels, self._num_classes)
            if truth is not None and truth_before is not None:
                self._truth += count_carried(pair, truth_before, truth, self._num_classes)
            self._num_pairs += 1
            self._num_pixels += labels.size
        self._last = labels, truth

    def clip(self) -> ClipCounts:
        """All that was counted."""
        return ClipCounts(
            key=self._key,
            counts=self._counts,
            still=self._still,
            truth=self._truth,
            num_pairs=self._num_pairs,
            num_pixels=self._num_pixels,
        )
