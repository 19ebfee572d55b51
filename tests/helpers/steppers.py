"""Small networks and moving pictures for the schemes of video."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from helpers.networks import narrow_fcn
from torch import Tensor
from torch.nn import functional

from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime
from sdcnet.motion.classical import Dis
from sdcnet.motion.estimator import ObservedPixels
from segtrain.models.network import SegmentationNetwork
from segtrain.models.registry import NETWORKS, build_network
from segtrain.video.learnt import Learnt
from segtrain.video.observations import observed
from segtrain.video.registry import LEARNT, SchemeSettings, open_stepper
from segtrain.video.stepper import Cost, Seen, Stepper

# As a training records them, of all that a network has to offer.
LEARNT_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "twnet": {"carried": [], "residual": "absolute", "gate": "none", "fine_tune": False},
    "netwarp": {"at": [], "form": "released", "gate": "none", "as_published": False, "fine_tune": False},
}
RUNTIME = Runtime(device=torch.device("cpu"))


def network_of(name: str, *, num_classes: int = 5) -> SegmentationNetwork:
    """A network with weights of its own, ready for inference."""
    torch.manual_seed(3)
    with narrow_fcn():
        return RUNTIME.prepare(
            build_network(name, num_classes=num_classes, output_stride=NETWORKS[name].output_strides[0])
        )


def moving(number: int, *, size: tuple[int, int] = (48, 64), speed: int = 3, seed: int = 0) -> list[Tensor]:
    """So many frames [1,3,H,W] uint8, of at most 16, of a smooth texture that moves to the left, pixels a frame."""
    height, width = size
    wide = width + 16 * speed
    noise = torch.rand(1, 3, height // 8, wide // 8, generator=torch.Generator().manual_seed(seed))
    pixels = (functional.interpolate(noise, (height, wide), mode="bilinear") * 255).to(torch.uint8)
    return [pixels[..., place * speed : place * speed + width].contiguous() for place in range(number)]


def seen_of(frames: Sequence[Tensor]) -> list[Seen]:
    """The frames [1,3,H,W] uint8 of one video as steppers see them, with the motion that DIS finds."""
    return list(observed([ObservedPixels(frame) for frame in frames], Dis(), RUNTIME, Stopwatch()))


class OfLearnt(NamedTuple):
    """A scheme that is learnt, with modules that have learnt nothing, or what `change` makes of them."""

    name: str
    interval: int = 12
    change: Callable[[Learnt], object] = lambda _: None
    settings: Mapping[str, Any] = {}
    chain: str = ""

    def on(self, network: SegmentationNetwork) -> Learnt:
        settings = {**LEARNT_SETTINGS[self.name], **self.settings}
        torch.manual_seed(4)
        learnt = RUNTIME.prepare(LEARNT[self.name].on(network, settings))
        self.change(learnt)
        return learnt


def stepper_of(network: SegmentationNetwork, settings: SchemeSettings | OfLearnt) -> Stepper:
    if isinstance(settings, OfLearnt):
        return settings.on(network).stepper(settings.interval)
    return open_stepper(network, settings)


def steps(stepper: Stepper, frames: Iterable[Seen]) -> tuple[list[Tensor], list[Cost]]:
    """What it makes of the frames: logits [1,C,H,W], and costs."""
    with torch.inference_mode():
        found = [stepper.step(seen) for seen in frames]
    return [logits.clone() for logits, _ in found], [cost for _, cost in found]
