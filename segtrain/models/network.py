"""What every segmentation network is: stages from an image to the scores of its pixels, on a trunk of known names.

Trainings, files of weights and inference know networks by this alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jobs.registry import meant
from segtrain.models.recomputation import recomputed
from segtrain.models.trunk import Trunk

IMAGE = "image"  # what stages read beside other stages: the images [B,3,H,W] as `preprocessing.normalised` gives them


@dataclass(frozen=True)
class Stage:
    """A part of a network between two of its cut points.

    `run` is given what `reads` names, in that order: what earlier stages have given, or IMAGE.
    """

    name: str
    reads: tuple[str, ...]
    run: Callable[..., Tensor]


def run_stages(stages: Iterable[Stage], image: Tensor) -> dict[str, Tensor]:
    """What each stage gives, by its name, and the image itself as IMAGE."""
    found = {IMAGE: image}
    for stage in stages:
        found[stage.name] = stage.run(*[found[name] for name in stage.reads])
    return found


class Places(NamedTuple):
    """Of features with a border around the image, along both sides.

    stride: from one place to the next, in pixels. before: pixels of the border that belong to the first places, where
    place i is the mean of the pixels from i stride - before on.
    """

    stride: int
    before: int

    @property
    def middle(self) -> float:
        """The centre of the first place, in pixels from that of the image's first."""
        return (self.stride - 1) / 2 - self.before

    def inside(self, size: int) -> slice:
        """The places whose centres lie on an image of so many pixels."""
        return slice(math.ceil(-self.middle / self.stride), math.floor((size - 1 - self.middle) / self.stride) + 1)


class NetworkOutput(NamedTuple):
    """What a network makes of images [B,3,H,W].

    logits: [B,C,H,W]. auxiliary: by name, further logits [B,C,h,w], at the size of the features that they are of, from
    heads that only help to train. features: what the stages that were asked for gave.
    """

    logits: Tensor
    auxiliary: Mapping[str, Tensor]
    features: Mapping[str, Tensor]


class SegmentationNetwork(nn.Module, ABC):
    """Class scores for every pixel of images of any size.

    ``network.to(memory_format=torch.channels_last)`` and ``nn.SyncBatchNorm.convert_sync_batchnorm(network)`` work as
    for any network. While it trains, batch norms of what is pooled to one pixel need more than one image per step (over
    all workers, where they are synchronised).

    `checkpoint_activations`, which may be changed at any time, makes training keep only what lies between the trunk's
    residual blocks, and compute the rest again on the way back: less memory for a third more time, the same numbers.

    `architecture` is the network's name in the registry. `stage_names` are the trunk's stages, each a submodule of that
    name; `foreign_names` is how other programs call parts of them, as in `Trunk`. A family sets `head`: the names in
    the state dict whose shapes depend on the number of classes; `output_strides`, where it does not have both; and
    `cuts`: the stages, in their order, after which a video's frames may go on with what earlier ones have given, the
    first of them cheap enough for every frame.
    """

    head: ClassVar[frozenset[str]]
    output_strides: ClassVar[tuple[int, ...]] = (8, 16)
    stage_names: tuple[str, ...]
    foreign_names: Mapping[str, str]
    cuts: tuple[str, ...] = ()

    def __init__(
        self, architecture: str, *, num_classes: int, output_stride: int, checkpoint_activations: bool = False
    ) -> None:
        """Raises: ValueError where num_classes is not positive, or output_stride none of the family's."""
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be positive, found {num_classes}")
        if output_stride not in self.output_strides:
            strides = " or ".join(map(str, self.output_strides))
            raise ValueError(f"output_stride must be {strides}, found {output_stride}")
        self.architecture = architecture
        self.num_classes, self.output_stride = num_classes, output_stride
        self.checkpoint_activations = checkpoint_activations

    @property
    def settings(self) -> dict[str, int]:
        """``build_network(network.architecture, **network.settings)`` makes another one with the same parameters."""
        return {"num_classes": self.num_classes, "output_stride": self.output_stride}

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The network as a chain of stages, in which others may stop, go on, and change what goes from one to the next.

        After the trunk's own comes context, what surrounds each of its last features. The last two are decoder, logits
        of any size; and logits, the same at the image's size, which is all that it reads of the image.
        """

    def places(self, stage: str) -> Places | None:  # noqa: ARG002
        """Where what a stage gives lies over the image; None where it divides the image's height and width evenly."""
        return None

    @property
    def auxiliary_stages(self) -> tuple[Stage, ...]:
        """Heads that only help to train, of logits [B,C,h,w]: they read what the others give, and are read by none."""
        return ()

    def forward(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] as `preprocessing.normalised` gives them -> logits [B,num_classes,H,W]."""
        return run_stages(self.stages, images)["logits"]

    def outputs(self, images: Tensor, features: Sequence[str] = ()) -> NetworkOutput:
        """As `forward`, with the logits of auxiliary heads, and with the features that the stages of these names give.

        Raises: ValueError for names of no stage.
        """
        known = [stage.name for stage in self.stages]
        for name in features:
            if name not in known:
                raise ValueError(f"no stage '{name}'; known are {', '.join(known)}{meant(name, known)}")
        found = run_stages(self.stages, images)
        auxiliary = {stage.name: stage.run(*[found[name] for name in stage.reads]) for stage in self.auxiliary_stages}
        return NetworkOutput(found["logits"], auxiliary, {name: found[name] for name in features})

    def features(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """What the stages of these names give, without those after them, and without auxiliary heads."""
        known = [stage.name for stage in self.stages]
        last = max(map(known.index, names), default=-1)
        found = run_stages(self.stages[: last + 1], images)
        return {name: found[name] for name in names}

    def add_trunk(self, trunk: Trunk) -> None:
        """Make the trunk's stages submodules under their own names, as in the published networks."""
        self.stage_names, self.foreign_names = tuple(trunk.stages), trunk.foreign_names
        for name, stage in trunk.stages.items():
            self.add_module(name, stage)

    @property
    def trunk_stages(self) -> tuple[Stage, ...]:
        """The trunk's stages, under their own names, each of which reads the one before it."""
        before = (IMAGE, *self.stage_names[:-1])
        return tuple(
            Stage(name, (read,), partial(self._run_trunk_stage, name))
            for name, read in zip(self.stage_names, before, strict=True)
        )

    def _run_trunk_stage(self, name: str, features: Tensor) -> Tensor:
        for block in self.get_submodule(name).children():
            recompute = self.checkpoint_activations and self.training and any(block.children())
            features = recomputed(block, features) if recompute else block(features)
        return features


def begin_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions, by what they read; biases begin at 0. On the meta device there are none.

    Reference: He et al., ICCV 2015.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:  # PyTorch would load its compiler to draw nothing
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def upsample(features: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, with the outermost pixels' centres on each other, as in the published networks."""
    return F.interpolate(features, tuple(size), mode="bilinear", align_corners=True)


def at_image_size(logits: Tensor, image: Tensor) -> Tensor:
    """logits [B,C,h,w] -> [B,C,H,W], the size of the image."""
    return upsample(logits, image.shape[-2:])
