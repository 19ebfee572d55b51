"""One sample: a frame, its label map, how sure we are of every pixel, and where all of it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # records of samples are read without PyTorch
    from torch import Tensor

CONFIDENCE_LEVELS = 16
PAIRINGS = ("label", "joint")
ORIGINS = ("annotated", "propagated", "fused", "refined", "pseudo")
ANNOTATED, PROPAGATED, FUSED, REFINED, PSEUDO = ORIGINS
REASONS = ("matched", "mismatch", "covered", "entered")
MATCHED, MISMATCH, COVERED, ENTERED = range(len(REASONS))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one neighbour of one annotated frame became; (source_key, offset, pairing) identifies it.

    image: the frame as encoded bytes (PNG, or JPEG where the source is), or as [H,W,3] uint8 RGB.
    label: [H,W] uint8 label ids. confidence: [H,W] uint8 levels 0…15, which stand for level / 15.
    reason: [H,W] uint8, why a pixel is doubtful, by its place in `REASONS`: "mismatch", the frames differ there under
    the motion; "covered", others have the better claim to its place and those around it, so that the annotated frame
    does not show it; "entered", it comes from outside that frame; "matched", none of these. None where a store does not
    say it.
    `pairing` tells how frame and labels belong together: "label", the real frame with propagated labels; "joint", the
    predicted frame, moved by the same motion as its labels. `group` is the folder under which it is exported.
    `origin` tells how the labels came about: "annotated" by a person, "propagated" from one annotated frame, "fused"
    from two, "refined" afterwards, or "pseudo", predicted by a network. `second_source_key` and `second_offset` are
    those of the other annotated frame, where there is one: of a fused sample the farther one.
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
    reason: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.label.shape[0], self.label.shape[1]

    @property
    def score(self) -> float:
        """The mean confidence, in [0, 1]."""
        return float(self.confidence.mean(dtype=np.float64)) / (CONFIDENCE_LEVELS - 1)


def require_chosen_offsets(offsets: Sequence[int], *, none_else: str) -> None:
    """Raise ValueError unless chosen offsets differ, and are not 0 alone. none_else: the option that says that."""
    if len(set(offsets)) < len(offsets) or not any(offsets):
        raise ValueError(
            f"offsets are different ones, of neighbours and perhaps 0, as -3,0,3, found {list(offsets)}; "
            f"{none_else} takes annotated frames alone"
        )


def quantize_confidence(confidence: "Tensor") -> "Tensor":
    """Float in [0,1], of any shape -> uint8 levels 0…15, rounded to the nearest."""
    return (confidence * (CONFIDENCE_LEVELS - 1)).round().byte()
