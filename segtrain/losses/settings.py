"""The settings of losses, which a command line knows without torch."""

from dataclasses import dataclass

IMAGES_PER_GPU = 2  # of the published trainings: each GPU has a loss of its images, and steps go down the mean of these


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What a loss may be told; each takes what means something to it.

    border, strict_classes (train ids), relax_until: of relaxed labels, see `relaxed.RelaxedLoss`. class_weight: the
    upper bound by which classes that are rare in an image weigh more. class_weights: of cross entropy, plain or on hard
    pixels, what classes weigh, by train id; empty: all alike. as_published: exactly what the published code computes,
    defect included. auxiliary: the weight of the loss of auxiliary outputs.
    """

    border: int = 1
    strict_classes: tuple[int, ...] = ()
    relax_until: int | None = None
    class_weight: float = 0.0
    class_weights: tuple[float, ...] = ()
    as_published: bool = False
    auxiliary: float = 0.4
