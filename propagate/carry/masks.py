"""Masks that something else made of a frame: within each, the carried labels vote on what all of it is.

A mask that has one thing in it shows where the carried labels are wrong; one that has several things would spoil labels
that are right. Which it is follows from confidence, which is calibrated: with masks of one thing each, about as many
pixels of a frame disagree with the others of their mask as confidence expects to be wrong, with poor ones several times
as many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from propagate.carry.carried import Carried
from propagate.data.clip import Resource
from propagate.data.masks import read_masks
from propagate.errors import UnreachableError

# The odds that what a mask changes is wrong: ODDS · excess² · √(the others' share of its votes) / ⁴√(its share of the
# frame). The excess is how many pixels of the frame disagree with their masks, as a multiple of how many are expected
# to be wrong. Rounded from a logistic regression on synthetic streets, over exact, eroded, dilated and merged instances
# and superpixels of four sizes; the factor is half of what it gave, since most masks that people have are good.
ODDS = 0.42
MOST_ODDS = 0.5  # a label is changed where the mask's is at least twice as probably right
AGREED_FACTOR = 0.3  # of the odds of pixels that agree with their mask; times the frame's excess, from 1 on
SUREST = 0.9999  # no pixel votes with more than this confidence
_VOTES = 64  # per unit of log-odds; whole numbers add up to the same in any order
_PARTS = 1 << 20  # of a pixel that is expected to be wrong
_LABELS = 256


@dataclass(frozen=True)
class MaskVote:
    """A `LabelCorrection` by the masks that there are of the frames, by their keys; others stay as they are.

    ignored: [256] bool, the label ids that neither vote nor change. on_unreachable: hears of a file that this machine
    cannot reach, and another one perhaps can.
    """

    masks: Mapping[str, Resource]
    ignored: Tensor
    on_unreachable: Callable[[str], object]

    def __call__(self, carried: Carried, targets: Tensor, keys: Sequence[str]) -> Carried:
        """Raises: InputError, where masks cannot be used."""
        size = (targets.shape[-2], targets.shape[-1])
        label, confidence = carried.label.clone(), carried.confidence.clone()
        for number, key in enumerate(keys):
            if key in self.masks:
                masks = torch.from_numpy(self._read(key, size)).to(label.device)
                label[number, 0], confidence[number, 0] = vote(
                    label[number, 0], confidence[number, 0], masks, self.ignored.to(label.device)
                )
        return replace(carried, label=label, confidence=confidence)

    def _read(self, key: str, size: tuple[int, int]) -> np.ndarray:
        try:
            return read_masks(self.masks[key], size)
        except UnreachableError:
            self.on_unreachable(str(self.masks[key]))
            raise


def vote(label: Tensor, confidence: Tensor, masks: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and confidence of one frame, after the vote within its masks.

    label: [H,W] uint8 label ids. confidence: [H,W] float32 in [0,1], that they are right. masks: [H,W] int32, 0 where
    there is none. ignored: [256] bool, by label id.

    A pixel votes with its log-odds. A mask is clear where more than half of its pixels have a label that counts, one
    label has more than half of the votes, and what is changed is then probably right. Only clear ones do anything.
    """
    masks = masks.long()
    num_masks = int(masks.max()) + 1
    place = masks * _LABELS + label
    sure = confidence.clamp(0.5, SUREST)
    counts = ~ignored
    pixels = _sums(place, torch.ones_like(place), num_masks)
    votes = _sums(place, ((sure / (1 - sure)).log_() * _VOTES).round_().long(), num_masks) * counts
    wrong = _sums(place, ((1 - confidence) * _PARTS).round_().long(), num_masks) * counts
    voters = pixels * counts
    most, winner = votes.max(dim=1)

    masked = torch.arange(num_masks, device=masks.device) > 0
    num_voters = voters.sum(dim=1)
    disagreeing = (num_voters - voters.gather(1, winner[:, None])[:, 0])[masked].sum()
    excess = disagreeing * _PARTS / wrong[masked].sum().clamp(min=1)
    others = 1 - most / votes.sum(dim=1).clamp(min=1)
    odds = ODDS * excess.square() * others.sqrt() / (num_voters.clamp(min=1) / masks.numel()).sqrt().sqrt()
    is_clear = (2 * num_voters > pixels.sum(dim=1)) & (others < 0.5) & (odds < MOST_ODDS)

    applies = (is_clear & masked)[masks] & counts[label.long()]
    winning = winner.to(label.dtype)[masks]
    agreed = (1 - confidence) / confidence.clamp(min=1 / _PARTS)
    agreed *= (AGREED_FACTOR * excess.clamp(min=1)).clamp(max=1)
    after = 1 / (1 + torch.where(label == winning, agreed, odds[masks]))
    return torch.where(applies, winning, label), torch.where(applies, after, confidence)


def _sums(place: Tensor, values: Tensor, num_masks: int) -> Tensor:
    """What int64 values add up to, by mask and label: [num_masks,256]."""
    sums = torch.zeros(num_masks * _LABELS, dtype=torch.long, device=values.device)
    return sums.scatter_add_(0, place.flatten(), values.flatten()).view(num_masks, _LABELS)
