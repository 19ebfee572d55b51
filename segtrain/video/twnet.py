"""Tamed warping: features of a key frame carried from frame to frame, each time corrected by the frame's early layers.

Reference: Feng et al., "TWNet: Tamed Warping Network".
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdcnet.geometry import sample_bilinear
from segtrain.models.network import IMAGE, Places, SegmentationNetwork, run_stages
from segtrain.video.correcting import Correction, consistency_loss
from segtrain.video.cost import stage_macs
from segtrain.video.keyframe import KeyFrames
from segtrain.video.learnt import Followed, Learnt, copied, require_one_of, small_image
from segtrain.video.parts import LOGITS, Parts
from segtrain.video.registry import GATES, RESIDUALS
from segtrain.video.stepper import Motion, Seen, Stepper
from segtrain.video.warping import at_size, gated, residual, residual_at_size, share_known, warp

CORRECTION = "correction"


class TWNet(Learnt):
    """Corrections of what is carried, and copies of the layers that run on frames that are no key frames.

    carried: the stages whose features are, by default all that the decoder reads beyond the network's first cut.
    residual: of RESIDUALS, by what the corrections are weighted. gate: of GATES; unless it is none, corrections see
    which share of a cell is not known. fine_tune: whether the layers are copied, to learn too.
    """

    scheme = "twnet"
    takes = ("interval",)

    def __init__(
        self, base: SegmentationNetwork, *, carried: Sequence[str], residual: str, gate: str, fine_tune: bool
    ) -> None:
        """Raises: ValueError for stages that the network does not have, or that do not suffice to go on from, and for
        another residual or gate."""
        super().__init__(base, gate)
        require_one_of("gate", gate, GATES)
        require_one_of("residual", residual, RESIDUALS)
        self._residual = residual
        parts = Parts(base)
        parts.require(carried)
        self.carried = tuple(carried) or parts.late
        ran = parts.needed((IMAGE, *self.carried))
        if not set(ran).isdisjoint(base.stage_names[-1:]):
            raise ValueError(f"the decoder goes on from more than {', '.join(self.carried)}; carry what is later")
        depends = parts.following(self.carried)
        early = [name for name in ran if name not in depends]
        self.lateral = early[-1] if early else base.cuts[0]
        with torch.no_grad():
            found = run_stages(base.stages, small_image(base))
        held = {name: found[name] for name in (IMAGE, *self.carried)}
        self.copies = copied(base, lambda: self._run(parts, held)) if fine_tune else None
        self.follower_parts = Parts(self.follower)
        channels = {name: features.shape[1] for name, features in found.items()}
        self.corrections = nn.ModuleDict(
            {
                name: Correction(
                    channels[name], channels[self.lateral], cues=int(gate != "none"), attends=residual != "none"
                )
                for name in self.carried
            }
        )

    @classmethod
    def on(cls, base: SegmentationNetwork, settings: Mapping[str, Any]) -> Self:
        return cls(base, **settings)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "carried": list(self.carried),
            "residual": self._residual,
            "gate": self.gate,
            "fine_tune": self.copies is not None,
        }

    def follow(
        self, held: Mapping[str, Tensor], image: Tensor, previous: Tensor, motion: Motion
    ) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """What is found in a frame [B,3,H,W], by stage, and which stages ran.

        held: what was found of `carried` in the frame before it, which is `previous`; of those stages, the corrected
        features are found. motion: as the gate lets it pass.
        """
        found = {IMAGE: image}
        ran = self.follower_parts.run(found, self.lateral)
        for name in self.carried:
            size, places = (held[name].shape[-2], held[name].shape[-1]), self.base.places(name)
            carried = warp(held[name], at_size(motion, image, size, places))
            cues = self._cues(image, previous, motion, size, places)
            lateral = self._lateral_at(found[self.lateral], size, places)
            found[name] = self.by_stage[name](carried, lateral, *cues)
        return found, ran + self.follower_parts.run(found)

    def follow_clip(self, images: Sequence[Tensor], motions: Sequence[Motion]) -> Followed:
        """The loss is `consistency`, of the features with those that the base finds, in the mean over frames."""
        previous, *others = images
        held, losses = self._found_by_base(previous), []
        for image, motion in zip(others, motions, strict=True):
            found, _ = self.follow(held, image, previous, motion)
            held, previous = {name: found[name] for name in self.carried}, image
            expected = self._found_by_base(image)
            losses += [consistency_loss(held[name], expected[name]) for name in self.carried]
        return Followed(found[LOGITS], {"consistency": torch.stack(losses).mean()})

    def stepper(self, interval: int) -> Stepper:
        return TWNetStepper(self, interval)

    @property
    def by_stage(self) -> dict[str, Correction]:
        return dict(self.corrections.items())  # type: ignore[arg-type]

    def _run(self, parts: Parts, held: dict[str, Tensor]) -> None:
        """All that runs in a frame that is no key frame. held: what is carried, and the frame."""
        parts.run({IMAGE: held[IMAGE]}, self.lateral)
        parts.run(held)

    @torch.no_grad()
    def _found_by_base(self, image: Tensor) -> dict[str, Tensor]:
        found, parts = {IMAGE: image}, Parts(self.base)
        for name in self.carried:
            parts.run(found, name)
        return {name: found[name] for name in self.carried}

    def _lateral_at(self, features: Tensor, size: tuple[int, int], places: Places | None) -> Tensor:
        """Features of the lateral stage, in the places of carried ones."""
        own = self.base.places(self.lateral)
        if places is None or own is None:
            return functional.adaptive_avg_pool2d(features, size)
        return _at_centres(features, own, size, places)

    def _cues(
        self, image: Tensor, previous: Tensor, motion: Motion, size: tuple[int, int], places: Places | None
    ) -> list[Tensor]:
        """What the attention sees."""
        if self._residual == "none":
            return []
        if self._residual == "absolute":
            cues = [residual_at_size(image, previous, motion, size, places)]
        else:
            signed = residual(image, previous, motion)
            if places is None:
                cues = [functional.interpolate(signed, size, mode="bilinear")]
            else:
                cues = [_at_centres(signed, Places(stride=1, before=0), size, places)]
        return cues if self.gate == "none" else [*cues, 1 - share_known(motion, image, size, places)]


def _at_centres(maps: Tensor, own: Places, size: tuple[int, int], places: Places) -> Tensor:
    """Maps [B,C,h,w], which lie in places of their own, at the centres of others: [B,C,*size]; bilinear."""
    centres = [
        (torch.arange(count, device=maps.device) * places.stride + places.middle - own.middle) / own.stride
        for count in size
    ]
    rows, columns = torch.meshgrid(*centres, indexing="ij")
    return sample_bilinear(maps, torch.stack((columns, rows)).expand(len(maps), -1, -1, -1))


class TWNetStepper(KeyFrames):
    """The base on every N-th frame; in between, what `TWNet.follow` finds."""

    def __init__(self, learnt: TWNet, interval: int) -> None:
        super().__init__(learnt.base, interval, "recursive", learnt.gate)
        self._learnt = learnt

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:
        return {**stage_macs(self._network, size), CORRECTION: self._learnt.macs(size)}

    def kept(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: found[name] for name in (IMAGE, *self._learnt.carried)}

    def follow(self, seen: Seen) -> tuple[Tensor, tuple[str, ...]]:
        motion = gated(seen, self._gate)
        found, ran = self._learnt.follow(self._held, seen.image, self._held[IMAGE], motion)
        self._held = self.kept(found)
        return found[LOGITS], (*ran, CORRECTION)
