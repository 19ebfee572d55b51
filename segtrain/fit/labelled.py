"""A training on labelled samples as the one loop runs it: what a step sees, and what there is to know of it.

Reference: Zhu et al., CVPR 2019.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import nn

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.optimisers import OPTIMISERS, Descent
from jobs.training.run_folder import is_begun
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.schedules import SCHEDULES, Curve
from jobs.training.state import TrainState
from jobs.training.task import Due, Losses
from segtrain.config import BEST, LAST, TrainingConfig
from segtrain.data.batches import Batch, load_batches
from segtrain.data.dataset import SegmentationDataset
from segtrain.data.index import ClassIndex
from segtrain.data.sampling import COARSELY, Epoch, build_epoch
from segtrain.data.surroundings import Surroundings
from segtrain.data.transforms import Augmentation
from segtrain.fit.effects import without_effect
from segtrain.fit.epochs import Epochs
from segtrain.fit.objective import open_objective
from segtrain.fit.sources import open_sampling, weighing_of
from segtrain.fit.validation import ValidationScores
from segtrain.losses.objective import Objective

LOG_EVERY = 20  # steps


@dataclass(frozen=True, kw_only=True)
class LabelledJob(ABC):
    """What every member of a crew is told. settings: as the folder of the training records them. surroundings: the
    neighbours that samples come with.
    """

    config: TrainingConfig
    settings: dict[str, Any]
    training: SegmentationDataset
    surroundings: Surroundings
    index: ClassIndex

    @property
    def out(self) -> Path:
        return self.config.out

    @property
    def dtype(self) -> str:
        return self.config.dtype

    @property
    def compile(self) -> bool:
        return self.config.compile

    @abstractmethod
    def open(self, member: Member, runtime: Runtime) -> "LabelledTask":
        """See `jobs.training.task.Job`."""

    def epoch(self, number: int) -> Epoch:
        return build_epoch(
            self.index, open_sampling(self.config, self.training.classes), seed=self.config.seed, epoch=number
        )


class LabelledTask(ABC):
    """See `jobs.training.task.Task`."""

    network: Any  # what a step calls
    state: TrainState[Any]

    def __init__(self, job: LabelledJob, member: Member, runtime: Runtime) -> None:
        config = job.config
        self._job, self._config, self._member, self._runtime = job, config, member, runtime
        self._objective: Objective = open_objective(config, job.training.classes.train_names)
        first = job.epoch(0)
        self._num_usable = first.num_usable
        self._absent = [job.training.classes.train_names[train_id] for train_id in first.absent]
        coarse = config.coarse_split is not None and config.class_uniform > 0
        self._lacks_coarse = coarse and not any(job.index.records[each].origin == COARSELY for each in first.sample)
        self._epochs = epochs_of(job, first)
        self.seed = config.seed
        self.num_steps = self._epochs.total
        self.num_parts = config.accumulate
        self.speed = ("samples_per_second", float(config.batch_size))
        self._scores: ValidationScores | None = None
        self._best: float | None = None

    def recall(self, saved: Mapping[str, Any]) -> None:
        self._scores = ValidationScores(**saved["scores"]) if saved["scores"] else None
        self._best = saved["best"]

    def memory(self) -> dict[str, Any]:
        """`best` is the highest mIoU so far."""
        return {"scores": asdict(self._scores) if self._scores else None, "best": self._best}

    def introduction(self) -> str:
        config, training, step = self._config, self._job.training, self.state.step
        begins = f"goes on after step {step} of {self.num_steps}" if step else f"{self.num_steps} steps"
        num_samples = len(training.records)
        of = "" if self._num_usable == num_samples else f"{self._num_usable} of "
        told = [f"{self.title} on {self._runtime.device}, {of}{num_samples} samples, {begins}"]
        if self._absent:
            told.append(f"without a pixel to train on: {', '.join(self._absent)}")
        height, width = training.size(0)
        if config.scale[1] * height < config.crop[0] and config.scale[1] * width < config.crop[1]:
            asked = "x".join(map(str, config.crop))
            told.append(f"images of {height}x{width} fill crops of {asked} in part only; a smaller --crop is quicker")
        told.extend(without_effect(config))
        if self._lacks_coarse:
            told.append(
                f"no crop of --coarse-split in the first epoch: its frames have no pixel of "
                f"{', '.join(config.coarse_classes)}, or too few for the share of --class-uniform"
            )
        if not self.is_validated:
            told.append("nothing to validate on")
        return "\n".join(told)

    def beginning(self) -> dict[str, Any]:
        return {
            "steps": self.num_steps,
            "workers": self._member.num_members,
            "device": str(self._runtime.device),
            "config": json.loads(json.dumps(asdict(self._config), default=str)),  # paths as they are here:
            "folder": str(Path.cwd()),
        }

    def batches(self, steps: range) -> Iterator[Batch]:
        for number, some in groupby(map(self._epochs.place, steps), key=lambda place: place[0]):
            epoch = self._job.epoch(number)
            within = [place[1] for place in some]
            yield from load_batches(
                self._job.training,
                epoch,
                augmentation_of(self._config),
                positions_of(epoch, within, self._config, self._member),
                surroundings=self.surroundings(number),
                usual_weight=weighing_of(self._config).usual(self._job.index.records[each] for each in epoch.sample),
                num_workers=self._config.loader_workers,
                pinned=self._runtime.device.type == "cuda",
            )

    def surroundings(self, epoch: int) -> Surroundings:  # noqa: ARG002 (of others they depend on it)
        """The neighbours that the samples of an epoch come with."""
        return self._job.surroundings

    def learning_rate(self, step: int) -> float:
        return learning_rate(self._config, self._epochs.position(step))

    def due(self, step: int) -> Due:
        epoch, within = self._epochs.place(step)
        is_epoch_end = within == 0
        validates = epoch % self._config.validate_every == 0 or step == self.num_steps
        return Due(
            log=step % LOG_EVERY == 0 or is_epoch_end,
            look=is_epoch_end and validates and self.is_validated,
            save=step % self._config.save_every == 0 or is_epoch_end,
        )

    def not_finite(self, step: int, rate: float, loss: float) -> FitError:
        config, training = self._config, self._job.training
        number, within = self._epochs.place(step)
        epoch = self._job.epoch(number)
        parts = positions_of(epoch, [within], config, self._member)
        keys = ", ".join(training.records[epoch.sample[position]].key for part in parts for position in part)
        kept = f". The last checkpoint in {config.out} is kept" if is_begun(config.out) else ""
        return FitError(
            f"loss or gradient of step {step} is not finite (epoch {number + 1}, loss {loss}, "
            f"learning rate {rate:.3g}, {config.dtype}), in a batch of {keys}{kept}; "
            "train anew with a lower --learning-rate, --clip-gradient, or another --dtype"
        )

    @abstractmethod
    def forward(self, network: Callable[..., Any], batch: Batch) -> Any: ...

    @abstractmethod
    def losses(self, output: Any) -> Losses: ...

    @abstractmethod
    def look(self, output: Any, log: RunLog | None) -> str: ...

    @property
    @abstractmethod
    def title(self) -> str:
        """What is trained."""

    @property
    @abstractmethod
    def is_validated(self) -> bool: ...

    @abstractmethod
    def save_network(self, name: str, about: Mapping[str, Any]) -> None:
        """Write what is of use by itself into the run's folder. about: JSON values for people."""

    def save_networks(self) -> None:
        self._save(LAST)

    def _noted(self, scores: ValidationScores, log: RunLog | None) -> None:
        """Remember and log the scores of a validation, and keep the network if they are the best."""
        is_best = self._best is None or scores.miou > self._best
        self._scores, self._best = scores, scores.miou if is_best else self._best
        if log:
            classes = {f"iou/{name}": value for name, value in scores.iou.items()}
            temporal = {} if scores.tc is None else {"tc": scores.tc}
            log.write(self.state.step, miou=scores.miou, accuracy=scores.accuracy, **temporal, **classes)
            if is_best:
                self._save(BEST)

    def _save(self, name: str) -> None:
        scores = asdict(self._scores) if self._scores else None
        self.save_network(name, {"steps": self.state.step, "scores": scores, "settings": self._job.settings})


def open_state(
    network: nn.Module, config: TrainingConfig, runtime: Runtime, groups: Sequence[Mapping[str, Any]] = ()
) -> TrainState[Any]:
    """The state in which a configuration begins with a network. groups: see `TrainState`."""
    return TrainState(
        network,
        runtime,
        OPTIMISERS[config.optimiser],
        Descent(momentum=config.momentum, weight_decay=config.weight_decay),
        decay=config.average,
        largest_gradient=config.clip_gradient,
        groups=groups,
    )


def learning_rate(config: TrainingConfig, epoch: float) -> float:
    """The rate at an epoch, which is a fraction on its way: 0 ≤ epoch < epochs."""
    curve = Curve(
        power=config.power,
        restart=config.restart_epoch,
        restart_rate=config.restart_rate,
        restart_power=config.restart_power,
    )
    position = epoch if config.schedule_by == "step" else math.floor(epoch)
    return config.learning_rate * SCHEDULES[config.schedule](position, config.epochs, curve)


def augmentation_of(config: TrainingConfig) -> Augmentation:
    return Augmentation(
        crop=config.crop,
        scale=config.scale,
        flip=config.flip,
        colour=config.colour,
        blur=config.blur,
        rotation=config.rotation,
    )


def epochs_of(job: LabelledJob, first: Epoch) -> Epochs:
    """How many steps each epoch has: fewer once propagated samples are left out. Raises: DataError for one without."""
    config = job.config
    num_with = config.epochs
    if config.propagated_until is not None:
        num_with = min(num_with, config.propagated_until + 1)
    steps = [steps_per_epoch(first, config.batch_size)] * num_with
    if num_with < config.epochs:
        steps += [steps_per_epoch(job.epoch(num_with), config.batch_size)] * (config.epochs - num_with)
    return Epochs(steps)


def steps_per_epoch(epoch: Epoch, batch_size: int) -> int:
    """Whole batches: the last is filled up with the epoch's first items."""
    return -(-len(epoch) // batch_size)


def positions_of(epoch: Epoch, steps: Sequence[int], config: TrainingConfig, member: Member) -> list[list[int]]:
    """Of each part of each step of an epoch, the positions in it of this member's share."""
    share = config.batch_size // member.num_members
    size = share // config.accumulate
    starts = [step * config.batch_size + member.rank * share for step in steps]
    return [
        [(start + part * size + item) % len(epoch) for item in range(size)]
        for start in starts
        for part in range(config.accumulate)
    ]
