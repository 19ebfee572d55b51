"""The losses that there are, by the names that recipes and command lines know.

`segtrain.losses.objective` says what an objective is. A new loss is a function in a file of its own, and a line below.
"""

from typing import TYPE_CHECKING, Protocol

from jobs.registry import Registry
from segtrain.losses.settings import LossSettings

if TYPE_CHECKING:  # who only lists the names needs no torch
    from segtrain.losses.objective import Objective


class OpensObjective(Protocol):
    """What a loss is by its name."""

    def __call__(self, settings: LossSettings) -> "Objective":
        """The loss of these settings."""
        ...


LOSSES: Registry[OpensObjective] = Registry(
    "loss",
    {
        "relaxed": "segtrain.losses.relaxed:relaxed",
        "cross-entropy": "segtrain.losses.cross_entropy:plain",
        "image-weighted": "segtrain.losses.cross_entropy:image_weighted",
        "ohem": "segtrain.losses.cross_entropy:ohem",
    },
)
PUBLISHED_LOSSES = ("relaxed", "image-weighted")  # those that can be computed exactly as the published code does
