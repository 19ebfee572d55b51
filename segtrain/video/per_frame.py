"""Every frame on its own: what all schemes are compared with."""

from collections.abc import Mapping
from typing import Self

from torch import Tensor

from segtrain.models.network import IMAGE, SegmentationNetwork
from segtrain.video.cost import stage_macs
from segtrain.video.parts import LOGITS, Parts
from segtrain.video.registry import SchemeSettings
from segtrain.video.stepper import Cost, Seen


class PerFrame:
    """The network on every frame."""

    takes: tuple[str, ...] = ()
    carries = False
    phases = (0,)

    def __init__(self, network: SegmentationNetwork) -> None:
        self._network, self._parts = network, Parts(network)

    @classmethod
    def open(cls, network: SegmentationNetwork, _: SchemeSettings) -> Self:
        return cls(network)

    def reset(self) -> None:
        """Nothing is kept."""

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        found = {IMAGE: seen.image}
        ran = self._parts.run(found)
        return found[LOGITS], Cost(ran, (seen.number,))

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:
        return stage_macs(self._network, size)
