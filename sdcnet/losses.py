"""What a video predictor is trained on: its frame against the target, and the smoothness of its flow.

Pure functions of [B,C,H,W] tensors; each returns a scalar. Frames are in levels 0…255, flows in pixels.

Reference: Reda et al., ECCV 2018; Zhu et al., CVPR 2019, whose weights these are.
"""

from typing import NamedTuple

from torch import Tensor

from sdcnet.networks.predictor import Prediction

COLOUR_WEIGHT = 0.7
GRADIENT_WEIGHT = 0.2
SMOOTHNESS_WEIGHT = 0.1


class PredictionLosses(NamedTuple):
    """The three terms, unweighted, and their weighted sum; all scalars."""

    colour: Tensor
    gradient: Tensor
    smoothness: Tensor
    total: Tensor


def _differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """|image(x+1) - image(x)| along the rows [B,C,H,W-1], and along the columns [B,C,H-1,W]."""
    return image.diff(dim=-1).abs(), image.diff(dim=-2).abs()


def colour_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference of two frames [B,3,H,W], as a fraction of the range 0…255."""
    return (predicted - target).abs().mean() / 255


def gradient_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """How much the absolute gradients of two frames [B,3,H,W] differ: the mean along x plus the mean along y.

    Quirk kept for parity: in levels, not divided by 255, so that it outweighs the colours.
    """
    pairs = zip(_differences(predicted), _differences(target), strict=True)
    along_x, along_y = ((of_predicted - of_target).abs().mean() for of_predicted, of_target in pairs)
    return along_x + along_y


def smoothness_loss(flow: Tensor) -> Tensor:
    """How much a flow [B,2,H,W] changes from pixel to pixel: the mean along x plus the mean along y."""
    along_x, along_y = _differences(flow)
    return along_x.mean() + along_y.mean()


def prediction_losses(prediction: Prediction, target: Tensor) -> PredictionLosses:
    """All losses of a prediction; target [B,3,H,W] is the true frame, in the network's colour order."""
    colour = colour_loss(prediction.frame, target)
    gradient = gradient_loss(prediction.frame, target)
    smoothness = smoothness_loss(prediction.flow_target_to_source)
    total = COLOUR_WEIGHT * colour + GRADIENT_WEIGHT * gradient + SMOOTHNESS_WEIGHT * smoothness
    return PredictionLosses(colour, gradient, smoothness, total)
