"""One sample: a frame, its label map, how sure we are of every pixel, and where all of it came from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # records of samples are read without PyTorch
    from torch import Tensor

CONFIDENCE_LEVELS = 16
PAIRINGS = ("label", "joint")
ORIGINS = ("annotated", "propagated", "fused", "refined", "pseudo")
ANNOTATED, PROPAGATED, *_ = ORIGINS


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one neighbour of one annotated frame became; (source_key, offset, pairing) identifies it.

    image: the frame as encoded bytes (PNG, or JPEG where the source is), or as [H,W,3] uint8 RGB.
    label: [H,W] uint8 label ids. confidence: [H,W] uint8 levels 0…15, which stand for level / 15.
    `pairing` tells how frame and labels belong together: "label", the real frame with propagated labels; "joint", the
    predicted frame, moved by the same motion as its labels. `group` is the folder under which it is exported.
    `origin` tells how the labels came about: "annotated" by a person, "propagated" from one annotated frame, "fused"
    from two, "refined" afterwards, or "pseudo", predicted by a network. `second_source_key` and `second_offset` are
    those of the other annotated frame, where there is one.
    """

    key: str
    source_key: str
    group: str
    offset: int
    pairing: str
    origin: str
    second_source_key: str = ""
    second_offset: int = 0
    image: bytes | np.ndarray
    label: np.ndarray
    confidence: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.label.shape[0], self.label.shape[1]

    @property
    def score(self) -> float:
        """The mean confidence, in [0, 1]."""
        return float(self.confidence.mean(dtype=np.float64)) / (CONFIDENCE_LEVELS - 1)


def quantize_confidence(confidence: "Tensor") -> "Tensor":
    """Float in [0,1], of any shape -> uint8 levels 0…15, rounded to the nearest."""
    return (confidence * (CONFIDENCE_LEVELS - 1)).round().byte()
