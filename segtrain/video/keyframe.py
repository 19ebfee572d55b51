"""The network on every N-th frame; in between, what it found there is kept, or carried along the motion.

Reference: Zhu et al., "Deep Feature Flow for Video Recognition", CVPR 2017, for carrying features.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdcnet.geometry import compose, warp_labels
from segtrain.models.network import IMAGE, SegmentationNetwork
from segtrain.video.cost import stage_macs
from segtrain.video.parts import LOGITS, Parts
from segtrain.video.registry import SchemeSettings
from segtrain.video.stepper import Cost, Seen
from segtrain.video.warping import at_size, filled, gated, num_motions, share_known, warp

MOSTLY = 0.5  # of a cell, from which on it counts as known


class KeyFrames(ABC):
    """What the schemes with key frames share: when a frame is one, and what is kept of it."""

    carries = True

    def __init__(self, network: SegmentationNetwork, interval: int, chain: str, gate: str = "none") -> None:
        """interval: from one key frame to the next. chain: of CHAINS, gate: of GATES, see `SchemeOptions`."""
        self._network, self._parts = network, Parts(network)
        self._interval, self._is_composed, self._gate = interval, chain == "composed", gate
        self.reset()

    @classmethod
    def open(cls, network: SegmentationNetwork, settings: SchemeSettings) -> Self:
        return cls(network, settings.interval, settings.chain, settings.gate)

    @property
    def phases(self) -> tuple[int, ...]:
        return tuple(range(self._interval))

    def reset(self) -> None:
        self._since_key = 0
        self._key = 0  # its number
        self._held: dict[str, Tensor] = {}
        self._to_key: dict[str, tuple[Tensor, Tensor | None]] = {}  # flow, and where it is known; by what is held

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        if seen.is_new or self._since_key == self._interval:
            self.reset()
        if not self._held:
            found = {IMAGE: seen.image}
            ran = self._parts.run(found)
            self._held, self._key, self._since_key = self.kept(found), seen.number, 1
            return found[LOGITS], Cost(ran, (seen.number,))
        self._since_key += 1
        logits, ran = self.follow(seen)
        looked = set(ran) - {"decoder", LOGITS}
        return logits, Cost(ran, (seen.number, self._key) if looked else (self._key,), self._motions(seen))

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:
        return stage_macs(self._network, size)

    def carried(self, seen: Seen, name: str) -> Tensor:
        """What is held under that name, where it is in this frame. In a recursive chain that is held from now on."""
        held, places = self._held[name], self._network.places(name)
        size = (held.shape[-2], held.shape[-1])
        motion = gated(seen, self._gate)
        flow = at_size(motion, seen.image, size, places)
        known = None if self._gate == "none" else share_known(motion, seen.image, size, places) >= MOSTLY
        if self._is_composed:
            if name in self._to_key:
                flow_of_previous, known_of_previous = self._to_key[name]
                if known is not None and known_of_previous is not None:
                    known &= warp_labels(known_of_previous, flow)
                flow = compose(flow, flow_of_previous)
            self._to_key[name] = flow, known
        carried = warp(held, flow) if held.is_floating_point() else warp_labels(held, flow)
        if known is not None:
            carried = filled(carried, known)
        if not self._is_composed:
            self._held[name] = carried
        return carried

    def _motions(self, seen: Seen) -> int:
        """How many a frame between key frames asks for."""
        return num_motions(seen, self._gate) if self.carries else 0

    @abstractmethod
    def kept(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of what was found in a key frame, what is held."""

    @abstractmethod
    def follow(self, seen: Seen) -> tuple[Tensor, tuple[str, ...]]:
        """The scores of a frame that is no key frame, and the stages that were computed for them."""


class Copy(KeyFrames):
    """The key frame's scores, unchanged: what every other scheme must beat."""

    takes: tuple[str, ...] = ("interval",)
    carries = False

    def kept(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {LOGITS: found[LOGITS]}

    def follow(self, seen: Seen) -> tuple[Tensor, tuple[str, ...]]:  # noqa: ARG002
        return self._held[LOGITS], ()


class WarpLabels(KeyFrames):
    """The key frame's classes, from the nearest pixel; the scores are 1 of the class, 0 of the others."""

    takes: tuple[str, ...] = ("interval", "chain", "gate")

    def kept(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        self._num_classes = found[LOGITS].shape[1]
        return {LOGITS: found[LOGITS].argmax(dim=1, keepdim=True)}

    def follow(self, seen: Seen) -> tuple[Tensor, tuple[str, ...]]:
        classes = self.carried(seen, LOGITS)
        return F.one_hot(classes[:, 0], self._num_classes).permute(0, 3, 1, 2).float(), ()


class WarpScores(KeyFrames):
    """The key frame's scores, at the size at which the decoder gives them."""

    takes: tuple[str, ...] = ("interval", "chain", "gate")

    def kept(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"decoder": found["decoder"]}

    def follow(self, seen: Seen) -> tuple[Tensor, tuple[str, ...]]:
        found = {IMAGE: seen.image, "decoder": self.carried(seen, "decoder")}
        ran = self._parts.run(found)
        return found[LOGITS], ran


class WarpFeatures(KeyFrames):
    """The key frame's late features; what else the decoder reads, early ones, is computed of every frame."""

    takes: tuple[str, ...] = ("interval", "chain", "gate")

    def kept(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: found[name] for name in self._parts.late}

    def follow(self, seen: Seen) -> tuple[Tensor, tuple[str, ...]]:
        found = {IMAGE: seen.image, **{name: self.carried(seen, name) for name in self._parts.late}}
        ran = self._parts.run(found)
        return found[LOGITS], ran
