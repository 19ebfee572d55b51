"""What a scheme learns on top of a network: modules of its own, and copies of those stages that follow them.

A file of it holds neither the network nor what the copies leave alone, but the network's digest: on any other network
it would mean nothing, and is refused.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from jobs.errors import CheckpointError
from jobs.files import open_regular
from jobs.registry import Registry
from jobs.training.checksums import AGAIN, checksum
from jobs.training.descriptions import network_of_another, parse_description
from jobs.training.weights import read_weights, require_parameters, write_weights
from segtrain.checkpoints import ADVICE, PREFIXES
from segtrain.checkpoints import KEY_OF_LEARNT as KEY
from segtrain.models.network import SegmentationNetwork
from segtrain.video.cost import convolutions_macs, found_without_values
from segtrain.video.stepper import Motion, Stepper

VERSION = 1  # of the description in our files
COPIES_RATE = 0.1  # of the learning rate of modules that begin anew


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a file says of what it holds.

    architecture: the scheme, of LEARNT. settings: of the scheme, as `Learnt.settings`. base, base_sha256: the
    architecture of the network that it was learnt on, and what `digest_of` gives of that. about: JSON values for
    people.
    """

    architecture: str
    settings: Mapping[str, Any]
    base: str
    base_sha256: str
    about: Mapping[str, Any]


class Followed(NamedTuple):
    """What became of a clip: logits [B,C,H,W] of its last frame, and by name the losses of what led there, scalars."""

    logits: Tensor
    losses: Mapping[str, Tensor]


class Learnt(nn.Module, ABC):
    """Modules of a scheme on a network, `base`, which they don't change. Of the copies' batch norms, which learn too,
    the statistics stay as they are.

    gate: of GATES, see `SchemeOptions`.
    """

    scheme: ClassVar[str]  # its name in LEARNT
    takes: ClassVar[tuple[str, ...]]  # as `registry.OptionsTaken` says, as the next
    carries: ClassVar[bool] = True
    copies: SegmentationNetwork | None  # of the base, what follows the modules; None where the base serves

    def __init__(self, base: SegmentationNetwork, gate: str) -> None:
        super().__init__()
        self.gate = gate
        self._base = (base,)  # not a part of this module

    @property
    def base(self) -> SegmentationNetwork:
        return self._base[0]

    @property
    def follower(self) -> SegmentationNetwork:
        """The network whose stages follow the modules."""
        return self.base if self.copies is None else self.copies

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """``type(self).on(base, settings)`` makes another one; JSON values."""

    @classmethod
    @abstractmethod
    def on(cls, base: SegmentationNetwork, settings: Mapping[str, Any]) -> Self:
        """What has learnt nothing yet. Raises: ValueError, TypeError for what the network does not have."""

    @abstractmethod
    def follow_clip(self, images: Sequence[Tensor], motions: Sequence[Motion]) -> Followed:
        """Of B clips at once: images [B,3,H,W] of two frames or more, the first without one before it, and for each of
        the others its motion, of [B,2,h,w] and [B,1,h,w]."""

    @abstractmethod
    def stepper(self, interval: int) -> Stepper:
        """What steps along a video by it. interval: from one key frame to the next, where there are any."""

    @property
    @abstractmethod
    def by_stage(self) -> dict[str, Any]:
        """The modules, by the stage whose features they change."""

    def findings(self) -> dict[str, str]:
        """What was learnt, in words, by stage: whether the modules came to anything."""
        return {name: module.findings() for name, module in self.by_stage.items()}

    def macs(self, size: tuple[int, int]) -> int:
        """The multiply-accumulates of all modules, in a frame of size (H, W)."""
        found = found_without_values(self.base, size)
        return sum(convolutions_macs(module, found[name]) for name, module in self.by_stage.items())

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.copies is not None:
            self.copies.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For an optimiser: copies learn slower, and of what begins anew vectors, as mixing weights and biases, do not
        decay."""
        copied = set() if self.copies is None else set(self.copies.parameters())
        new = [parameter for parameter in self.parameters() if parameter not in copied]
        groups: list[dict[str, Any]] = [
            {"params": [each for each in new if each.ndim > 1]},
            {"params": [each for each in new if each.ndim <= 1], "weight_decay": 0.0},
            {"params": [each for each in self.parameters() if each in copied], "factor": COPIES_RATE},
        ]
        return [group for group in groups if group["params"]]


def require_one_of(setting: str, value: str, choices: Sequence[str]) -> None:
    """Raises: ValueError."""
    if value not in choices:
        raise ValueError(f"{setting} is one of {', '.join(choices)}, found {value!r}")


def small_image(network: SegmentationNetwork) -> Tensor:
    """One by which to see which layers run, and which channels there are."""
    return torch.zeros(1, 3, 64, 128, device=next(network.parameters()).device)


def copied(base: SegmentationNetwork, run: Callable[[], object]) -> SegmentationNetwork:
    """A copy that can learn of those layers of a network that `run` calls, and of nothing else in it."""
    used: set[str] = set()
    hooks = [
        layer.register_forward_pre_hook(lambda *_, name=name: used.add(name)) for name, layer in base.named_modules()
    ]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    network = deepcopy(base).requires_grad_(True).eval()
    unused = [name for name, layer in network.named_modules() if name not in used and not any(layer.children())]
    for name in unused:
        network.set_submodule(name, nn.Identity())
    return network


def digest_of(network: SegmentationNetwork) -> str:
    """The SHA-256 of a network's parameters and buffers, wherever they lie."""
    return checksum({name: tensor.cpu() for name, tensor in network.state_dict().items()}, {})


def save_learnt(path: Path, learnt: Learnt, about: Mapping[str, Any]) -> None:
    """Write it, whole or not at all. Raises: CheckpointError where the file cannot be written."""
    description = {
        "version": VERSION,
        "architecture": learnt.scheme,
        "settings": learnt.settings,
        "base": learnt.base.architecture,
        "base_sha256": digest_of(learnt.base),
        "about": about,
    }
    write_weights(path, learnt, {KEY: json.dumps(description, sort_keys=True)})


def describe_learnt(path: Path) -> Description:
    """What a file says of itself; nothing else of it is read.

    Raises: CheckpointError for any other file, one that is not whole, and one for another program of ours.
    """
    try:
        with open_regular(path):
            pass
        with safe_open(path, framework="np") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error}), expected a file of `segtrain video fit`"
        raise CheckpointError(str(path), reason) from None
    except SafetensorError as error:
        raise CheckpointError(str(path), f"no file of `segtrain video fit`, or not whole ({error}). {AGAIN}") from None
    return _description(path, metadata)


def open_learnt(path: Path, base: SegmentationNetwork, kinds: Registry[type[Learnt]]) -> Learnt:
    """What a file holds, on its base, ready for inference. kinds: what there is, by the name that files say.

    Raises: CheckpointError where the base is another network than it was learnt on, or the file cannot be used;
    ParameterError where parameters are missing, unexpected or of another shape.
    """
    file = read_weights(path, PREFIXES)
    description = _description(path, file.metadata)
    _require_base(path, description, base)
    if description.architecture not in kinds:
        raise CheckpointError(
            str(path), f"holds a scheme '{description.architecture}', unknown here. Update the program"
        )
    try:
        learnt = kinds[description.architecture].on(base, description.settings)
    except (ValueError, TypeError, KeyError) as error:
        reason = f"its settings {dict(description.settings)} are none of {description.architecture} ({error}). {AGAIN}"
        raise CheckpointError(str(path), reason) from error
    require_parameters(path, description.architecture, learnt.state_dict(), file.tensors, ADVICE)
    learnt.load_state_dict(file.tensors)
    device = next(base.parameters()).device
    return learnt.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _description(path: Path, metadata: Mapping[str, str]) -> Description:
    if other := network_of_another(metadata, KEY):
        reason = (
            f"holds {other}, expected what `segtrain video fit` has learnt on one. Give RUN/best.safetensors of that"
        )
        raise CheckpointError(str(path), reason)
    if KEY not in metadata:
        raise CheckpointError(str(path), "does not say what it holds, expected a file of `segtrain video fit`")
    return parse_description(path, metadata[KEY], Description, VERSION)


def _require_base(path: Path, description: Description, base: SegmentationNetwork) -> None:
    found = digest_of(base)
    if found != description.base_sha256:
        raise CheckpointError(
            str(path),
            f"was learnt on a {description.base} of digest {description.base_sha256[:12]}, this network is a "
            f"{base.architecture} of digest {found[:12]}. Give the file that was its --base",
        )
