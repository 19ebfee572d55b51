"""Labels as they were carried to some frames, and what may correct them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from propagate.carry.confidence import Match, confidence, reasons, to_outline
from propagate.carry.paths import CarryingPath
from propagate.carry.voting import Side, best_match


@dataclass(frozen=True)
class Carried:
    """What there is at N target frames, on the device of a path: [N,1,H,W] each.

    label: uint8 label ids. confidence: float32 in [0,1], how probably each is right. reason: uint8, what speaks against
    each, by its place in `REASONS`. match: how well the frames match, from which that follows.
    """

    label: Tensor
    confidence: Tensor
    reason: Tensor
    match: Match


def judged(label: Tensor, sides: Sequence[Side], path: CarryingPath) -> Carried:
    """Labels that were carried from these annotated frames, [N,1,H,W] uint8, and what is to be thought of them."""
    best = best_match(sides)
    return Carried(label, confidence(best, to_outline(label, path)), reasons(best, path), best)


class LabelCorrection(Protocol):
    """What knows better than motion, for some of the pixels."""

    def __call__(self, carried: Carried, targets: Tensor, keys: Sequence[str]) -> Carried:
        """targets: the frames, [N,3,H,W] uint8 RGB; keys: theirs. Raises: PropagateError, of the first frame."""
        ...
