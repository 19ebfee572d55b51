"""The settings of a training, each declared once: recipes and the command line take them from here."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any, Self

from jobs.console.settings import require_settings, setting, setting_of
from jobs.training.devices import RuntimeSettings
from jobs.training.optimisers import OPTIMISERS
from jobs.training.schedules import SCHEDULES
from propagate.data.sample import require_chosen_offsets
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import DatasetChoice, found_dataset
from segtrain.losses.consistency.settings import ConsistencySettings
from segtrain.losses.registry import LOSSES, PUBLISHED_LOSSES
from segtrain.losses.settings import IMAGES_PER_GPU
from segtrain.models.registry import NETWORKS

LAST, BEST = "last.safetensors", "best.safetensors"  # in the run folder: as of the last checkpoint, of the best mIoU


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A training on labelled frames. A range holds both its ends; class names are those of the class table.

    Raises: ValueError for settings that make no sense.
    """

    out: Path = setting(MISSING, "The run's folder: new, or to go on with.", passing=True)

    # what is trained on
    shards: tuple[Path, ...] = setting((), "A store of `propagate run` to train on; repeatable.", repeatable=True)
    decisions: tuple[Path, ...] = setting(
        (),
        "A file of decisions on a store of --shards, whose rejected samples are left out; repeatable.",
        repeatable=True,
    )
    dataset: str | None = setting_of(DatasetChoice, "dataset")
    root: Path | None = setting_of(
        DatasetOptions,
        "root",
        default=None,
        help="A data set: what is validated on; without --shards, trained on as well.",
        otherwise="PROPAGATE_ROOT, or without --shards where you stand",
    )
    layout: Path | None = setting_of(DatasetOptions, "layout")
    train_split: str | None = setting(
        None, "Train on the annotated frames of this split of the data set.", otherwise="train, without --shards"
    )
    val_split: str | None = setting("val", "The split to validate on.")
    classes: Path | None = setting(None, "A class table (YAML).", otherwise="the data's own")

    # which samples
    class_uniform: float = setting(0.5, "Share of crops around centroids of classes.", least=0, most=1)
    class_uniform_tile: int = setting(1024, "Tiles of so many pixels have a centroid per class.", least=1)
    class_uniform_until: int | None = setting(
        None, "The last epoch with such crops, counted from 0.", otherwise="all", least=0
    )
    coarse_split: str | None = setting(
        None, "cityscapes: take crops of --coarse-classes from the coarse annotations of this split too."
    )
    coarse_classes: tuple[str, ...] = setting((), "Classes of which there are too few finely annotated, as truck,bus.")
    boost: Mapping[str, float] = setting({}, "Classes that get more such crops, as pole=2,rider=1.5.")
    propagated: float | None = setting(
        None, "Share of propagated samples.", otherwise="as many as there are", least=0, most=1
    )
    propagated_until: int | None = setting(
        None, "The last epoch with propagated samples, counted from 0.", otherwise="all", least=0
    )
    pseudo: float | None = setting(
        None, "Share of pseudo-labelled samples.", otherwise="as many as there are", least=0, most=1
    )
    max_offset: int | None = setting(None, "Use propagated samples up to this |offset|.", otherwise="all", least=0)
    offsets: tuple[int, ...] | None = setting(
        None, "Use samples at exactly these offsets, as -3,0,3, where 0 is the annotated frames.", otherwise="all"
    )
    min_score: float = setting(0.0, "Use propagated samples from this mean confidence on.", least=0, most=1)
    min_confidence: float = setting(0.0, "Ignore pixels below this confidence.", least=0, most=1)
    weigh_by_confidence: bool = setting(
        False, "Let each pixel of propagated samples count in the loss as much as its confidence says."
    )
    offset_weights: tuple[float, ...] = setting(
        (),
        "What propagated samples count at |offset| 1, 2, …, farther ones as the last.",
        otherwise="all 1",
    )
    epoch_length: int | None = setting(
        None, "Samples of an epoch.", otherwise="as many as there are within the limits", least=1
    )

    # how they are changed
    crop: tuple[int, int] = setting((800, 800), "Height x width.")
    scale: tuple[float, float] = setting((0.5, 2.0), "The range of random scales.")
    flip: bool = setting(True, "Mirror every other crop.")
    colour: float = setting(0.25, "Change brightness, contrast, saturation and hue by up to this.", least=0, most=0.5)
    blur: bool = setting(True, "Blur every other crop.")
    rotation: float = setting(0.0, "Rotate by up to so many degrees.", least=0, most=180)

    # what it learns
    loss: str = setting("relaxed", "relaxed: boundary label relaxation.", choices=LOSSES)
    border: int = setting(1, "Relaxed labels: windows of (2 border + 1)² pixels.", least=0)
    strict_classes: tuple[str, ...] = setting((), "Classes that are never relaxed, as pole,rider.")
    relax_until: int | None = setting(
        None, "The last epoch with relaxed labels, counted from 0.", otherwise="all", least=0
    )
    class_weight: float = setting(
        0.0,
        "Upper bound by which classes that are rare in an image weigh more; image-weighted: 0 stands for 1.",
        least=0,
    )
    class_weights: Mapping[str, float] = setting(
        {}, "cross-entropy, ohem: what classes weigh, as pole=1.2,rider=1.1; the others 1."
    )
    as_published: bool = setting(
        False, "relaxed, image-weighted: exactly the published loss of two images per GPU, with its defect."
    )
    auxiliary: float = setting(0.4, "Weight of the loss of auxiliary outputs, of networks that have some.", least=0)

    # how it learns
    epochs: int = setting(180, "Of the whole training.", least=1)
    batch_size: int = setting(16, "Of all workers together, in one step.", least=1)
    accumulate: int = setting(1, "Parts of a step that are computed one after the other.", least=1)
    optimiser: str = setting("sgd", "How weights follow gradients.", choices=OPTIMISERS)
    learning_rate: float = setting(0.004, "The first.", least=0)
    momentum: float = setting(0.9, "Of SGD.", least=0, most=1)
    weight_decay: float = setting(5e-5, "Pulls weights towards 0.", least=0)
    schedule: str = setting("poly", "How the learning rate falls.", choices=SCHEDULES)
    schedule_by: str = setting(
        "step", "When the learning rate falls: at every step, or where an epoch begins.", choices=("step", "epoch")
    )
    power: float = setting(1.0, "Of poly.", least=0)
    restart: int | None = setting(
        None, "scaled-poly: the epoch of its restart.", otherwise="after --relax-until", least=0
    )
    restart_rate: float = setting(1.0, "scaled-poly: the rate after it, as a factor of the first.", least=0)
    restart_power: float = setting(1.5, "scaled-poly: the power after it.", least=0)
    clip_gradient: float = setting(0.0, "The largest norm of a gradient; 0: any.", least=0)
    average: float = setting(
        0.0, "Decay of the moving average of weights that is kept; 0: none.", least=0, most=0.99999
    )
    dtype: str = setting_of(RuntimeSettings, "dtype", help="Of activations; weights are float32.")
    seed: int = setting(0, "Another one draws other samples and first weights.", least=0, most=2**64 - 1)

    # how it is watched
    validate_every: int = setting(1, "Epochs between validations.", least=1)
    max_val_images: int | None = setting(None, "Validate on so many, evenly spread.", otherwise="all", least=1)

    # where it runs
    device: str = setting_of(RuntimeSettings, "device", passing=True)
    compile: bool = setting_of(
        RuntimeSettings, "compile", help="Compile the network: pays off on long runs.", passing=True
    )
    loader_workers: int = setting(2, "Processes of each worker that read ahead.", least=0, passing=True)
    workers: int = setting(1, "Several: by Ray Train.", least=1, passing=True)
    address: str | None = setting(
        None, "A running Ray cluster, as host:port.", otherwise="this machine alone", passing=True
    )
    verify: bool = setting(
        False, "Prove every byte of --shards before training, whatever their size; up to 2 GB always.", passing=True
    )
    extend: bool = setting(
        False,
        "Let --epochs be more than when the training in OUT was begun; from where it goes on, the rate is that of the "
        "longer plan.",
        passing=True,
    )
    save_every: int = setting(500, "Steps between checkpoints, which each epoch's end has too.", least=1, passing=True)

    def __post_init__(self) -> None:
        require_settings(self)
        low, high = self.scale
        if not 0 < low <= high < inf:
            raise ValueError(f"scale is a range of numbers above 0, found {low:g}…{high:g}")
        if not all(0 < factor < inf for factor in self.boost.values()):
            raise ValueError(f"boost must be above 0 for every class, found {dict(self.boost)}")
        if not all(0 < weight < inf for weight in self.class_weights.values()):
            raise ValueError(f"class_weights must be above 0 for every class, found {dict(self.class_weights)}")
        if not all(0 < weight < inf for weight in self.offset_weights):
            raise ValueError(f"offset_weights must be above 0, found {', '.join(map(str, self.offset_weights))}")
        if min(self.crop) < 1:
            raise ValueError(f"crop is in pixels, 1 or more, found {self.crop}")
        if (self.propagated or 0) + (self.pseudo or 0) > 1:
            raise ValueError(f"propagated {self.propagated} and pseudo {self.pseudo} are shares, at most 1 together")
        if self.offsets is not None:
            self._require_offsets(self.offsets)
        if self.coarse_split is not None and not self.coarse_classes:
            raise ValueError(f"--coarse-split {self.coarse_split} for which classes? Give --coarse-classes")
        if self.coarse_split is not None and self.data is None:
            raise ValueError(f"the coarse annotations of '{self.coarse_split}' of which data set? Give --root")
        if self.decisions and not self.shards:
            raise ValueError("--decisions on which store? Give its --shards")
        if self.shards and self.root is None and self.train_split is not None:
            raise ValueError(f"the split '{self.train_split}' of which data set? Give --root")
        if not 0 < self.learning_rate < inf:
            raise ValueError(f"learning_rate must be a number above 0, found {self.learning_rate}")
        if self.schedule == "scaled-poly" and not 0 <= self.restart_epoch < self.epochs:
            raise ValueError(
                f"scaled-poly restarts within the {self.epochs} epochs, found {self.restart_epoch}; give --restart"
            )
        if self.batch_size % (self.workers * self.accumulate):
            raise ValueError(
                f"a batch of {self.batch_size} cannot be shared equally by {self.workers} workers in {self.accumulate} "
                "parts each"
            )
        if self.as_published:
            self._require_published()

    def _require_offsets(self, offsets: tuple[int, ...]) -> None:
        if self.max_offset is not None:
            raise ValueError("--max-offset says how far, --offsets exactly which; give one of them, the other none")
        require_chosen_offsets(offsets, none_else="--max-offset 0")
        if 0 not in offsets and self.trains_on_split is not None:
            raise ValueError(
                f"the split '{self.trains_on_split}' is of annotated frames, which --offsets leaves out without a 0; "
                "give one, or train on --shards alone"
            )

    def _require_published(self) -> None:
        if self.loss not in PUBLISHED_LOSSES:
            raise ValueError(
                f"as_published is for the losses {' and '.join(PUBLISHED_LOSSES)}, found {self.loss}; leave it out"
            )
        at_a_time = self.batch_size // (self.workers * self.accumulate)
        if at_a_time % IMAGES_PER_GPU:
            raise ValueError(
                f"as_published takes images in pairs, found a batch of {self.batch_size} in "
                f"{self.workers * self.accumulate} parts, {at_a_time} at a time; change --batch-size, --workers or "
                "--accumulate, or leave it out"
            )

    @property
    def restart_epoch(self) -> int:
        """The first epoch of the second part of scaled-poly."""
        if self.restart is not None:
            return self.restart
        return self.epochs if self.relax_until is None else self.relax_until + 1

    @property
    def data(self) -> DatasetOptions | None:
        """Where its data set lies, and how it is read, but for the split; None where there is none."""
        if self.root is None and self.shards:
            return None
        return DatasetOptions(root=self.root or Path(), layout=self.layout)

    def found(self) -> Self:
        """The same with the root and the layout of its data set, if there is one. Raises: DatasetError."""
        if self.data is None:
            return self
        return replace(self, root=self.data.root, dataset=self.dataset or found_dataset(self.data))

    @property
    def trains_on_split(self) -> str | None:
        """The split of the data set whose annotated frames are trained on, if any."""
        return self.train_split or (None if self.shards else "train")


@dataclass(frozen=True, kw_only=True)
class FitConfig(ConsistencySettings, TrainingConfig):
    """A training of a whole network."""

    # the network
    network: str = setting(
        "deepwv3plus", "DeepLabV3+ on the trunk of that name, or another network.", choices=tuple(NETWORKS)
    )
    output_stride: int = setting(8, "Of the deepest features.", choices=(8, 16, 32))
    weights: Path | None = setting(
        None, "A whole network to begin with, published or ours.", otherwise="one that has learnt nothing"
    )
    trunk_weights: Path | None = setting(None, "A trunk to begin with, as of an ImageNet classifier.")
    new_head: bool = setting(False, "Leave out the last layer of --weights: the classes are others.")
    head_rate: float = setting(1.0, "Learning rate of all but the trunk, as a factor.", least=0)
    freeze_batch_norm: bool = setting(False, "Keep the statistics of batch norms as they are in the weights.")
    checkpoint_activations: bool = setting(False, "Compute activations twice: less memory, a third slower.")

    # how it is validated
    val_window: tuple[int, int] | None = setting(None, "Slide a window, height x width.", otherwise="whole images")

    def __post_init__(self) -> None:
        ConsistencySettings.__post_init__(self)
        TrainingConfig.__post_init__(self)
        if self.is_consistent and self.consistency_from >= self.epochs:
            raise ValueError(
                f"consistency is from epoch {self.consistency_from}, counted from 0, of {self.epochs}: never; give an "
                "earlier --consistency-from"
            )
        if min(self.val_window or (1, 1)) < 1:
            raise ValueError(f"val_window is in pixels, 1 or more, found {self.val_window}")
        if self.new_head and self.weights is None:
            raise ValueError("--new-head leaves out a layer of --weights, and there are none")
        if self.trunk_weights is not None and self.weights is not None:
            raise ValueError("--weights has a trunk of its own; give that, or --trunk-weights")


def default_settings(config: type[TrainingConfig] = FitConfig) -> dict[str, Any]:
    """The settings that have a default, as JSON gives them back."""
    defaults = {
        each.name: each.default_factory() if each.default_factory is not MISSING else each.default
        for each in fields(config)
        if each.default is not MISSING or each.default_factory is not MISSING
    }
    return json.loads(json.dumps(defaults))
