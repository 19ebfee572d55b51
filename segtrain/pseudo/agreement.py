"""Whether a frame's labels agree with those of the frames beside it, along the motion."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdcnet.geometry import is_seen, warp_labels


class Verdict(NamedTuple):
    """What a neighbour says of a frame's labels: [H,W] bool each.

    judged: the pixels that it shows, since the motion stays inside it and leads back; contradicted: those of them that
    have another label there.
    """

    judged: np.ndarray
    contradicted: np.ndarray


def verdict_of(labels: np.ndarray, beside: np.ndarray, flow_to_beside: Tensor, flow_back: Tensor) -> Verdict:
    """labels, beside: [H,W] uint8, of a frame and of its neighbour; the flows between them: [1,2,H,W], on the host."""
    judged = is_seen(flow_to_beside, flow_back)[0, 0].numpy()
    carried = warp_labels(torch.from_numpy(beside)[None, None], flow_to_beside)[0, 0].numpy()
    return Verdict(judged, judged & (carried != labels))


def contradicted(verdicts: Sequence[Verdict], size: tuple[int, int]) -> np.ndarray:
    """[H,W] bool, of size (H, W): where all neighbours that show a pixel, and one at least, have another label."""
    judged = np.zeros(size, bool)
    agreed = np.zeros(size, bool)
    for verdict in verdicts:
        judged |= verdict.judged
        agreed |= verdict.judged & ~verdict.contradicted
    return judged & ~agreed
