"""The training of a segmentation network: what it makes of samples, how it is watched, and what is kept of it.

Reference: Zhu et al., CVPR 2019.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.task import Losses
from sdcnet.motion.registry import open_estimator
from segtrain.checkpoints import load_trunk_weights, load_weights, read_checkpoint, save_network
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.data.dataset import SegmentationDataset
from segtrain.data.surroundings import ALONE, Surroundings
from segtrain.fit.consistency import DistillationTeacher, Student, motion_of, open_encoder
from segtrain.fit.drawing import segmentation_picture
from segtrain.fit.labelled import LabelledJob, LabelledTask, open_state
from segtrain.fit.validation import predict, spread, validate
from segtrain.inference import Inference
from segtrain.losses.consistency.settings import APART, NONE, SHARED, TRAINED
from segtrain.losses.consistency.terms import ConsistentObjective
from segtrain.losses.objective import Objective, StepOutput
from segtrain.models.network import NetworkOutput, SegmentationNetwork
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network
from segtrain.page.pictures import Segmented, save_pictures

NUM_PICTURES = 4  # of a validation

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job(LabelledJob):
    """held_out: what is validated on."""

    config: FitConfig
    held_out: SegmentationDataset | None

    def open(self, member: Member, runtime: Runtime) -> "SegmentationTask":
        return SegmentationTask(self, member, runtime)


class Outputs(nn.Module):
    """What a network makes of frames, with its auxiliary outputs and some of its features.

    A module, since a crew exchanges gradients only of what goes through one call of its forward pass; so the encoder
    that is trained with the network, if there is one, is part of it.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        features: Sequence[str],
        *,
        dropout: str = APART,
        only_annotated_learns: bool = False,
        encoder: nn.Module | None = None,
    ) -> None:
        """dropout: of several frames, see `ConsistencySettings`. only_annotated_learns: the others give no gradient."""
        super().__init__()
        self.network, self.features, self.encoder = network, tuple(features), encoder
        self._dropout, self._only_annotated_learns = dropout, only_annotated_learns
        self._drops = [layer for layer in network.modules() if isinstance(layer, _DropoutNd)]

    def forward(self, *frames: Tensor) -> list[NetworkOutput]:
        """frames: [B,3,H,W] uint8 RGB each, the annotated one first."""
        for layer in self._drops:
            layer.training = self.network.training and (len(frames) == 1 or self._dropout != NONE)
        outputs = []
        begin = random_state(frames[0].device) if self._drops and self._dropout == SHARED else None
        for number, frame in enumerate(frames):
            if number and begin is not None:
                set_random_state(begin, frame.device)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not (number and self._only_annotated_learns)):
                outputs.append(self.network.outputs(normalised(frame), self.features))
        return outputs


def random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


class SegmentationTask(LabelledTask):
    """Of a whole network."""

    def __init__(self, job: Job, member: Member, runtime: Runtime) -> None:
        super().__init__(job, member, runtime)
        config = job.config
        self._fit, self._held_out = config, job.held_out
        is_synchronised = member.num_members > 1 and runtime.device.type == "cuda" and not config.freeze_batch_norm
        classes = job.training.classes
        network = new_network(config, classes.train_names)
        require_several_images(config, network, is_synchronised=is_synchronised)
        if is_synchronised:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        objective: Objective = self._objective
        encoder = open_encoder(config)
        if config.is_consistent:
            objective = ConsistentObjective(labels=objective, settings=config, encoder=encoder)
        trained_encoder = encoder if config.sequence_encoder == TRAINED else None
        learning = network if trained_encoder is None else Student(network, trained_encoder)
        self.state = open_state(learning, config, runtime, groups_of(learning, network, config.head_rate))
        if encoder is not None:
            encoder.to(runtime.device)
        self._objective = objective
        self.network = runtime.compiled(
            Outputs(
                network,
                objective.features,
                dropout=config.consistency_dropout,
                only_annotated_learns=config.detach and not config.distills,
                encoder=trained_encoder,
            )
        )
        network.train()
        self._teacher = None
        if config.distills:
            self._teacher = DistillationTeacher(config, classes, runtime, objective.features)
        if config.temporal:
            self._estimator = open_estimator(config.motion_settings(device=runtime.device.type, dtype=config.dtype))
        if config.freeze_batch_norm:
            for layer in network.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()

    @property
    def title(self) -> str:
        return self._fit.network

    @property
    def is_validated(self) -> bool:
        return self._held_out is not None

    def forward(self, network: Callable[..., list[NetworkOutput]], batch: Batch) -> StepOutput:
        epoch, _ = self._epochs.place(self.state.step)
        if self._fit.temporal and batch.neighbours is not None:
            batch = motion_of(batch, self._estimator, self._runtime.device)
        batch = batch.to(self._runtime.device)
        frames = [batch.image, *(() if batch.neighbours is None else batch.neighbours.unbind(1))]
        annotated, *neighbours = network(*frames)
        return StepOutput(
            **annotated._asdict(),
            neighbours=tuple(neighbours),
            teacher=self._teacher(frames) if self._teacher is not None and self._fit.is_on(epoch) else (),
            flows=batch.flows,
            seen=batch.seen,
            batch=batch,
            epoch=epoch,
        )

    def surroundings(self, epoch: int) -> Surroundings:
        return ALONE if self._fit.is_consistent and not self._fit.is_on(epoch) else super().surroundings(epoch)

    def losses(self, output: StepOutput) -> Losses:
        return self._objective(output)

    def look(self, output: StepOutput, log: RunLog | None) -> str:  # noqa: ARG002 (of no interest here)
        """All members validate together; the first keeps the best network, and draws."""
        held_out = self._held_out
        assert held_out is not None
        inference = Inference(window=self._fit.val_window)
        numbers = spread(len(held_out.records), self._config.max_val_images)
        scores = validate(self._average, held_out, numbers, inference, self._runtime, self._member)
        self._noted(scores, log)
        if log:
            self._draw(log, [numbers[each] for each in spread(len(numbers), NUM_PICTURES)], held_out, inference)
        return f"epoch {self._epochs.place(self.state.step)[0]}: {scores}"

    def save_network(self, name: str, about: Mapping[str, Any]) -> None:
        classes = self._job.training.classes
        about = {"trained_by": "segtrain fit", **about}
        save_network(self._config.out / name, self._average, classes=classes, about=about)

    @property
    def _average(self) -> SegmentationNetwork:
        """The network that is validated and kept."""
        average = self.state.average
        return average.network if isinstance(average, Student) else average

    def _draw(self, log: RunLog, numbers: Sequence[int], held_out: SegmentationDataset, inference: Inference) -> None:
        """A few of the images that were validated on: all for the run's page, the first for TensorBoard."""
        images = []
        for number in numbers:
            pixels = held_out.read(number)
            found = predict(self._average, pixels.image, inference, self._runtime)
            images.append(Segmented(held_out.records[number].key, pixels, found))
        first, step = images[0], self.state.step
        log.draw(step, "image, truth, prediction", segmentation_picture(first.pixels, first.found, held_out.classes))
        save_pictures(self._config.out, step, images, held_out.classes)


def groups_of(learning: nn.Module, network: SegmentationNetwork, head_rate: float) -> list[dict[str, Any]]:
    """The parameters that are trained at the rate, and those at another; none where all are trained alike."""
    if head_rate == 1:
        return []
    trunk = {id(each) for name in network.stage_names for each in network.get_submodule(name).parameters()}
    parameters = list(learning.parameters())
    return [
        {"params": [each for each in parameters if id(each) in trunk]},
        {"params": [each for each in parameters if id(each) not in trunk], "factor": head_rate},
    ]


def require_several_images(config: FitConfig, network: SegmentationNetwork, *, is_synchronised: bool) -> None:
    """A batch norm that learns needs several images at a time. Raises: FitError."""
    at_a_time = config.batch_size // (config.workers * config.accumulate)
    learns = not config.freeze_batch_norm and any(isinstance(layer, _BatchNorm) for layer in network.modules())
    if at_a_time == 1 and learns and not is_synchronised:
        raise FitError(
            f"a batch of {config.batch_size} in {config.workers * config.accumulate} parts gives 1 image at a time, "
            "from which batch norms cannot learn; raise --batch-size, lower --accumulate, or add --freeze-batch-norm"
        )


def new_network(config: FitConfig, class_names: Sequence[str]) -> SegmentationNetwork:
    """The network to begin with. Raises: CheckpointError, ParameterError for weights that do not fit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(
            config.network,
            num_classes=len(class_names),
            output_stride=config.output_stride,
            checkpoint_activations=config.checkpoint_activations,
        )
    if config.trunk_weights is not None:
        load_trunk_weights(network, read_checkpoint(config.trunk_weights))
    if config.weights is not None:
        checkpoint = read_checkpoint(config.weights)
        load_weights(network, checkpoint, new_head=config.new_head)
        if checkpoint.description is not None and not config.new_head:
            _say_other_classes(config.weights, checkpoint.description.class_names, class_names)
    return network


def _say_other_classes(weights: Path, known: Sequence[str], trained: Sequence[str]) -> None:
    """Classes may only be called otherwise, so that what their scores have learnt is of use, or be others."""
    pairs = [pair for pair in zip(known, trained, strict=False) if pair[0] != pair[1]]
    if pairs:
        _log.warning(
            "%s: scores '%s' where '%s' is trained on, %d of %d classes are others; --new-head leaves their scores out",
            *(weights, *pairs[0], len(pairs), len(trained)),
        )
