"""A carried label and a network's probabilities to one label, and how probable that is: pixel by pixel, by their odds.

The odds of two witnesses that know nothing of each other multiply, once what both knew beforehand is taken out: how
common a class is. These two look at the same frame, and are led astray at the same places, so that both together count
less than that. And how common a class is counts less, since where a class is carried to there is more of it than
anywhere.
"""

from torch import Tensor

from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.data.sample import CONFIDENCE_LEVELS
from segtrain.inference import Segmentation

# Found on synthetic streets, by mIoU, the calibration error, and how well the wrong pixels are known.
TOGETHER = 0.7  # the power of both witnesses' odds
PRIOR = 0.7  # the power of the odds that a pixel anywhere is of the carried class
MOST = 1 - 0.25 / (CONFIDENCE_LEVELS - 1)  # level 15 stands for 29/30 to 1: for no certainty
_LEAST = 1e-6  # of a probability: what a network never says is not impossible


def fuse(probabilities: Tensor, carried: Tensor, confidence: Tensor, shares: Tensor) -> Segmentation:
    """The most probable class of each pixel by both, and how probable it is; where no label was carried, it is 255.

    probabilities: [C,H,W] float32, the network's, which add up to 1. carried: [H,W] uint8 train ids, 255 for none.
    confidence: [H,W] float32 in [0,1], how probably these are right. shares: [C] float32, that of each class among all
    labelled pixels. All on one device.
    """
    has_label = carried != IGNORE_TRAIN_ID
    own = carried.long().where(has_label, 0)[None]
    beyond_chance = confidence.clamp(1 - MOST, MOST).logit() - PRIOR * shares.logit(_LEAST)[own[0]]
    scores = probabilities.clamp(min=_LEAST).log_().scatter_add_(0, own, beyond_chance[None]).mul_(TOGETHER)
    best, labels = scores.max(dim=0)
    found = (best - scores.logsumexp(dim=0)).exp()
    return Segmentation(labels.byte().where(has_label, IGNORE_TRAIN_ID).cpu().numpy(), found.cpu().numpy())
