"""NetWarp: features of the frame before, warped and mixed into those of every frame, by what was learnt.

Reference: Gadde et al., "Semantic Video CNNs through Representation Warping", ICCV 2017.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from segtrain.models.network import IMAGE, SegmentationNetwork, run_stages
from segtrain.models.preprocessing import MEAN, STD
from segtrain.video.cost import stage_macs
from segtrain.video.learnt import Followed, Learnt, copied, require_one_of, small_image
from segtrain.video.mixing import Mixing, Pooled, pooled_as_published
from segtrain.video.parts import LOGITS, Parts
from segtrain.video.registry import GATES
from segtrain.video.stepper import Cost, Motion, Seen, Stepper
from segtrain.video.warping import LEVELS, at_size, gated, image_at_size, num_motions, share_known

PUBLISHED_MEAN = (103.939, 116.779, 123.68)  # blue, green, red
MIXING = "mixing"


class NetWarp(Learnt):
    """A module at each of some stages, and copies of the layers that follow the first of them.

    at: the stages, by default all that the decoder reads beyond the network's first cut. form: of FlowCNN, of FORMS.
    gate: of GATES: where the motion is not known, a frame's features are its own. as_published: the flow and images
    that FlowCNN sees are made as by the published script (`pooled_as_published`), which published weights expect.
    fine_tune: whether the layers are copied, to learn too.

    What is mixed in are the features that the base finds in the frame before by itself, at each of the stages: nothing
    of the frames before that. The first frame, and one after a cut, is the base's alone.
    """

    scheme = "netwarp"
    takes = ()

    def __init__(
        self,
        base: SegmentationNetwork,
        *,
        at: Sequence[str],
        form: str,
        gate: str,
        as_published: bool,
        fine_tune: bool,
    ) -> None:
        """Raises: ValueError for stages that the network does not have, and for another form or gate."""
        super().__init__(base, gate)
        require_one_of("gate", gate, GATES)
        self._form, self._as_published = form, as_published
        parts = Parts(base)
        parts.require(at)
        self.at = tuple(name for name in parts.names if name in (at or parts.late))
        if LOGITS in self.at:
            raise ValueError(f"nothing follows '{LOGITS}' that could see what is mixed there; mix at what is earlier")
        with torch.no_grad():
            found = run_stages(base.stages, small_image(base))
        depends = parts.following(self.at[:1])
        known = {name: features for name, features in found.items() if name not in depends}
        self.copies = copied(base, lambda: parts.run(known)) if fine_tune else None
        self._base_parts, self._parts = Parts(base), Parts(self.follower)
        self.mixings = nn.ModuleDict({name: Mixing(found[name].shape[1], form) for name in self.at})

    @classmethod
    def on(cls, base: SegmentationNetwork, settings: Mapping[str, Any]) -> Self:
        return cls(base, **settings)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "at": list(self.at),
            "form": self._form,
            "gate": self.gate,
            "as_published": self._as_published,
            "fine_tune": self.copies is not None,
        }

    def alone(self, image: Tensor) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """What the base finds in a frame by itself, up to the last of the stages, by stage, and which stages ran."""
        found = {IMAGE: image}
        ran: tuple[str, ...] = ()
        for name in self.at:
            ran += self._base_parts.run(found, name)
        return found, ran

    def follow(
        self, own: Mapping[str, Tensor], before: Mapping[str, Tensor], previous: Tensor, motion: Motion
    ) -> tuple[Tensor, tuple[str, ...]]:
        """The scores of a frame, and the stages that ran for them.

        own, before: of the frame and the one before it, which is `previous`, what `alone` finds. motion: as the gate
        lets it pass.
        """
        first, *_ = self.at
        depends = Parts(self.base).following([first])
        found = {name: features for name, features in own.items() if name not in depends}
        image = found[IMAGE]
        ran: tuple[str, ...] = ()
        for name in self._base_parts.needed(found):
            if name not in depends:
                ran += self._base_parts.run(found, name)
        for name in self.at:
            ran += self._parts.run(found, name)
            known = None if self.gate == "none" else self._known(motion, image, found[name], name)
            pooled = self._pooled(image, previous, motion, found[name], name)
            found[name] = self.by_stage[name](found[name], before[name], pooled, known)
        ran += self._parts.run(found)
        return found[LOGITS], ran

    def follow_clip(self, images: Sequence[Tensor], motions: Sequence[Motion]) -> Followed:
        """There is no loss but that of the labels. Of the frames the last two count."""
        previous, image = images[-2:]
        with torch.no_grad():
            own, before = self.alone(image)[0], self.alone(previous)[0]
        return Followed(self.follow(own, before, previous, motions[-1])[0], {})

    def stepper(self, interval: int) -> Stepper:  # noqa: ARG002 (there are no key frames)
        return NetWarpStepper(self)

    @property
    def by_stage(self) -> dict[str, Mixing]:
        return dict(self.mixings.items())  # type: ignore[arg-type]

    def _known(self, motion: Motion, image: Tensor, features: Tensor, name: str) -> Tensor:
        size = (features.shape[-2], features.shape[-1])
        return share_known(motion, image, size, self.base.places(name))

    def _pooled(self, image: Tensor, previous: Tensor, motion: Motion, features: Tensor, name: str) -> Pooled:
        """What FlowCNN reads, in the places of the features."""
        if self._as_published:
            everywhere = at_size(motion, image, (image.shape[-2], image.shape[-1]))
            return pooled_as_published(everywhere, *(_published(frame) for frame in (image, previous)))
        size, places = (features.shape[-2], features.shape[-1]), self.base.places(name)
        frames = (image_at_size(frame, size, places) for frame in (image, previous))
        return Pooled(at_size(motion, image, size, places), *frames)


def _published(frame: Tensor) -> Tensor:
    """A normalised frame [B,3,H,W] as the published network sees it: blue, green, red levels, less their means."""
    mean, std = (frame.new_tensor(values).view(3, 1, 1) * LEVELS for values in (MEAN, STD))
    return (frame * std + mean).flip(1) - frame.new_tensor(PUBLISHED_MEAN).view(3, 1, 1)


class NetWarpStepper:
    """The modules on every frame that has one before it."""

    phases = (1,)

    def __init__(self, learnt: NetWarp) -> None:
        self._learnt, self._parts = learnt, Parts(learnt.base)
        self.reset()

    def reset(self) -> None:
        self._before: dict[str, Tensor] = {}
        self._number = 0  # of the frame before

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:
        return {**stage_macs(self._learnt.base, size), MIXING: self._learnt.macs(size)}

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        before, number = {} if seen.is_new else self._before, self._number
        own, ran = self._learnt.alone(seen.image)
        self._before, self._number = {name: own[name] for name in (IMAGE, *self._learnt.at)}, seen.number
        if not before:
            ran += self._parts.run(own)
            return own[LOGITS], Cost(ran, (seen.number,))
        motion = gated(seen, self._learnt.gate)
        logits, others = self._learnt.follow(own, before, before[IMAGE], motion)
        return logits, Cost((*ran, *others, MIXING), (seen.number, number), num_motions(seen, self._learnt.gate))
