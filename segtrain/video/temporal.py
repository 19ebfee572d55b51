"""How consistent labels are in time: those of a frame, carried to the next one, against what is found there.

Reference: Liu et al., "Efficient Semantic Video Segmentation with Per-frame Inference", ECCV 2020, for the measure;
here by the motion of dense inverse search, whichever a scheme uses, over pixels that both frames show.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.scoring.metrics import confusion
from sdcnet.geometry import is_seen, warp_labels
from sdcnet.motion.classical import dis_flow, to_flow, to_grey


class Pair(NamedTuple):
    """A frame and the one before it. flow_to_previous: [1,2,H,W]; is_seen: [H,W] bool, the pixels that both show."""

    flow_to_previous: Tensor
    is_seen: Tensor


def pair_of(previous: Tensor, frame: Tensor) -> Pair:
    """previous, frame: [1,3,H,W] uint8 RGB, on the host."""
    grey = to_grey(previous), to_grey(frame)
    flow, back = to_flow(dis_flow(grey[1], grey[0])), to_flow(dis_flow(*grey))
    return Pair(flow, is_seen(flow, back)[0, 0])


def consistency(pairs: Sequence[Pair], labels: Sequence[Tensor], num_classes: int) -> np.ndarray:
    """Counts of carried against found classes [C,C+1], as in `propagate.scoring.metrics`: carried ones as the truth.

    pairs: of each frame but the first. labels: [H,W] uint8 train ids of each frame.
    """
    counts = np.zeros((num_classes, num_classes + 1), np.int64)
    for pair, before, found in zip(pairs, labels, labels[1:], strict=False):
        carried = warp_labels(before[None, None], pair.flow_to_previous)[0, 0]
        carried = torch.where(pair.is_seen, carried, torch.full_like(carried, IGNORE_TRAIN_ID))
        counts += confusion(carried.numpy(), found.numpy(), num_classes)
    return counts
