"""The training of a segmentation network as the one loop runs it: what a step sees, what it costs, how it is watched.

Reference: Zhu et al., CVPR 2019.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.optimisers import OPTIMISERS, Descent
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.schedules import SCHEDULES, Curve
from jobs.training.state import TrainState
from jobs.training.task import Due, Losses
from segtrain.checkpoints import load_trunk_weights, load_weights, read_checkpoint, save_network
from segtrain.config import BEST, LAST, FitConfig
from segtrain.data.batches import Batch, load_batches
from segtrain.data.dataset import SegmentationDataset
from segtrain.data.index import ClassIndex
from segtrain.data.sampling import Epoch, build_epoch
from segtrain.data.transforms import Augmentation
from segtrain.fit.drawing import segmentation_picture
from segtrain.fit.effects import without_effect
from segtrain.fit.objective import open_objective
from segtrain.fit.sources import open_sampling
from segtrain.fit.validation import ValidationScores, predict, spread, validate
from segtrain.inference import Inference
from segtrain.losses.objective import StepOutput
from segtrain.models.network import NetworkOutput, SegmentationNetwork
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network
from segtrain.page.pictures import Segmented, save_pictures

LOG_EVERY = 20  # steps
NUM_PICTURES = 4  # of a validation


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every member of a crew is told. settings: as the folder of the training records them."""

    config: FitConfig
    settings: dict[str, Any]
    training: SegmentationDataset
    held_out: SegmentationDataset | None
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

    def epoch(self, number: int) -> Epoch:
        return build_epoch(
            self.index, open_sampling(self.config, self.training.classes), seed=self.config.seed, epoch=number
        )

    def open(self, member: Member, runtime: Runtime) -> "SegmentationTask":
        return SegmentationTask(self, member, runtime)


class Outputs(nn.Module):
    """What a network makes of frames, with its auxiliary outputs and some of its features.

    A module, since a crew exchanges gradients only of what goes through one call of its forward pass.
    """

    def __init__(self, network: SegmentationNetwork, features: Sequence[str]) -> None:
        super().__init__()
        self.network, self.features = network, tuple(features)

    def forward(self, *frames: Tensor) -> list[NetworkOutput]:
        """frames: [B,3,H,W] uint8 RGB each."""
        return [self.network.outputs(normalised(frame), self.features) for frame in frames]


class SegmentationTask:
    """See `jobs.training.task.Task`."""

    def __init__(self, job: Job, member: Member, runtime: Runtime) -> None:
        config = job.config
        self._job, self._config, self._member, self._runtime = job, config, member, runtime
        is_synchronised = member.num_members > 1 and runtime.device.type == "cuda" and not config.freeze_batch_norm
        require_several_images(config, is_synchronised=is_synchronised)
        network = new_network(config, len(job.training.classes.train_names))
        if is_synchronised:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self._objective = open_objective(config, job.training.classes.train_names)
        self.state = open_state(network, config, runtime)
        self.network: Any = runtime.compiled(Outputs(network, self._objective.features))
        network.train()
        if config.freeze_batch_norm:
            for layer in network.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        first = job.epoch(0)
        self._absent = [job.training.classes.train_names[train_id] for train_id in first.absent]
        self._steps_per_epoch = steps_per_epoch(first, config.batch_size)
        self.seed = config.seed
        self.num_steps = config.epochs * self._steps_per_epoch
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
        told = [f"{config.network} on {self._runtime.device}, {len(training.records)} samples, {begins}"]
        if self._absent:
            told.append(f"without a pixel to train on: {', '.join(self._absent)}")
        height, width = training.size(0)
        if config.scale[1] * height < config.crop[0] and config.scale[1] * width < config.crop[1]:
            asked = "x".join(map(str, config.crop))
            told.append(f"images of {height}x{width} fill crops of {asked} in part only; a smaller --crop is quicker")
        told.extend(without_effect(config))
        if self._job.held_out is None:
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
        for number, some in groupby(steps, key=lambda step: step // self._steps_per_epoch):
            epoch = self._job.epoch(number)
            within = [step % self._steps_per_epoch for step in some]
            yield from load_batches(
                self._job.training,
                epoch,
                augmentation_of(self._config),
                positions_of(epoch, within, self._config, self._member),
                num_workers=self._config.loader_workers,
                pinned=self._runtime.device.type == "cuda",
            )

    def forward(self, network: Callable[..., list[NetworkOutput]], batch: Batch) -> StepOutput:
        batch = batch.to(self._runtime.device)
        frames = [batch.image, *(() if batch.neighbours is None else batch.neighbours.unbind(1))]
        annotated, *neighbours = network(*frames)
        return StepOutput(
            **annotated._asdict(),
            neighbours=tuple(neighbours),
            batch=batch,
            epoch=self.state.step // self._steps_per_epoch,
        )

    def losses(self, output: StepOutput) -> Losses:
        return self._objective(output)

    def learning_rate(self, step: int) -> float:
        return learning_rate(self._config, step / self._steps_per_epoch)

    def due(self, step: int) -> Due:
        is_epoch_end = step % self._steps_per_epoch == 0
        epoch = step // self._steps_per_epoch
        validates = epoch % self._config.validate_every == 0 or step == self.num_steps
        return Due(
            log=step % LOG_EVERY == 0 or is_epoch_end,
            look=is_epoch_end and validates and self._job.held_out is not None,
            save=step % self._config.save_every == 0 or is_epoch_end,
        )

    def look(self, output: StepOutput, log: RunLog | None) -> str:  # noqa: ARG002 (of no interest here)
        """All members validate together; the first keeps the best network, and draws."""
        held_out, step = self._job.held_out, self.state.step
        assert held_out is not None
        inference = Inference(window=self._config.val_window)
        numbers = spread(len(held_out.records), self._config.max_val_images)
        scores = validate(self.state.average, held_out, numbers, inference, self._runtime, self._member)
        is_best = scores.miou > (-math.inf if self._best is None else self._best)
        self._scores, self._best = scores, scores.miou if is_best else self._best
        if log:
            classes = {f"iou/{name}": value for name, value in scores.iou.items()}
            log.write(step, miou=scores.miou, accuracy=scores.accuracy, **classes)
            if is_best:
                self._save_network(BEST)
            self._draw(log, [numbers[each] for each in spread(len(numbers), NUM_PICTURES)], held_out, inference)
        return f"epoch {step // self._steps_per_epoch}: {scores}"

    def save_networks(self) -> None:
        self._save_network(LAST)

    def not_finite(self, step: int, rate: float, loss: float) -> FitError:
        config, training = self._config, self._job.training
        number, within = divmod(step, self._steps_per_epoch)
        epoch = self._job.epoch(number)
        parts = positions_of(epoch, [within], config, self._member)
        keys = ", ".join(training.records[epoch.sample[position]].key for part in parts for position in part)
        return FitError(
            f"loss or gradient of step {step} is not finite (epoch {number + 1}, loss {loss}, "
            f"learning rate {rate:.3g}, {config.dtype}), in a batch of {keys}. The last checkpoint in {config.out} is "
            "kept; train anew with a lower --learning-rate, --clip-gradient, or another --dtype"
        )

    def _draw(self, log: RunLog, numbers: Sequence[int], held_out: SegmentationDataset, inference: Inference) -> None:
        """A few of the images that were validated on: all for the run's page, the first for TensorBoard."""
        images = []
        for number in numbers:
            pixels = held_out.read(number)
            found = predict(self.state.average, pixels.image, inference, self._runtime)
            images.append(Segmented(held_out.records[number].key, pixels, found))
        first, step = images[0], self.state.step
        log.draw(step, "image, truth, prediction", segmentation_picture(first.pixels, first.found, held_out.classes))
        save_pictures(self._config.out, step, images, held_out.classes)

    def _save_network(self, name: str) -> None:
        about = {
            "trained_by": "segtrain fit",
            "steps": self.state.step,
            "scores": asdict(self._scores) if self._scores else None,
            "settings": self._job.settings,
        }
        classes = self._job.training.classes
        save_network(self._config.out / name, self.state.average, classes=classes, about=about)


def require_several_images(config: FitConfig, *, is_synchronised: bool) -> None:
    """A batch norm that learns needs several images at a time. Raises: FitError."""
    at_a_time = config.batch_size // (config.workers * config.accumulate)
    if at_a_time == 1 and not config.freeze_batch_norm and not is_synchronised:
        raise FitError(
            f"a batch of {config.batch_size} in {config.workers * config.accumulate} parts gives 1 image at a time, "
            "from which batch norms cannot learn; raise --batch-size, lower --accumulate, or add --freeze-batch-norm"
        )


def new_network(config: FitConfig, num_classes: int) -> SegmentationNetwork:
    """The network to begin with. Raises: CheckpointError, ParameterError for weights that do not fit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(
            config.network,
            num_classes=num_classes,
            output_stride=config.output_stride,
            checkpoint_activations=config.checkpoint_activations,
        )
    if config.trunk_weights is not None:
        load_trunk_weights(network, read_checkpoint(config.trunk_weights))
    if config.weights is not None:
        load_weights(network, read_checkpoint(config.weights), new_head=config.new_head)
    return network


def open_state(network: SegmentationNetwork, config: FitConfig, runtime: Runtime) -> TrainState[SegmentationNetwork]:
    """The state in which a configuration begins with a network."""
    return TrainState(
        network,
        runtime,
        OPTIMISERS[config.optimiser],
        Descent(momentum=config.momentum, weight_decay=config.weight_decay),
        decay=config.average,
        largest_gradient=config.clip_gradient,
    )


def learning_rate(config: FitConfig, epoch: float) -> float:
    """The rate at an epoch, which is a fraction on its way: 0 ≤ epoch < epochs."""
    curve = Curve(
        power=config.power,
        restart=config.restart_epoch,
        restart_rate=config.restart_rate,
        restart_power=config.restart_power,
    )
    return config.learning_rate * SCHEDULES[config.schedule](epoch, config.epochs, curve)


def augmentation_of(config: FitConfig) -> Augmentation:
    return Augmentation(
        crop=config.crop,
        scale=config.scale,
        flip=config.flip,
        colour=config.colour,
        blur=config.blur,
        rotation=config.rotation,
    )


def steps_per_epoch(epoch: Epoch, batch_size: int) -> int:
    """Whole batches: the last is filled up with the epoch's first items."""
    return -(-len(epoch) // batch_size)


def positions_of(epoch: Epoch, steps: Sequence[int], config: FitConfig, member: Member) -> list[list[int]]:
    """Of each part of each step of an epoch, the positions in it of this member's share."""
    share = config.batch_size // member.num_members
    size = share // config.accumulate
    starts = [step * config.batch_size + member.rank * share for step in steps]
    return [
        [(start + part * size + item) % len(epoch) for item in range(size)]
        for start in starts
        for part in range(config.accumulate)
    ]
