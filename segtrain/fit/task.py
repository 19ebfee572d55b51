"""The training of a segmentation network: what it makes of samples, how it is watched, and what is kept of it.

Reference: Zhu et al., CVPR 2019.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.task import Losses
from segtrain.checkpoints import load_trunk_weights, load_weights, read_checkpoint, save_network
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.data.dataset import SegmentationDataset
from segtrain.fit.drawing import segmentation_picture
from segtrain.fit.labelled import LabelledJob, LabelledTask, open_state
from segtrain.fit.validation import predict, spread, validate
from segtrain.inference import Inference
from segtrain.losses.objective import StepOutput
from segtrain.models.network import NetworkOutput, SegmentationNetwork
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network
from segtrain.page.pictures import Segmented, save_pictures

NUM_PICTURES = 4  # of a validation


@dataclass(frozen=True, kw_only=True)
class Job(LabelledJob):
    """held_out: what is validated on."""

    config: FitConfig
    held_out: SegmentationDataset | None

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


class SegmentationTask(LabelledTask):
    """Of a whole network."""

    def __init__(self, job: Job, member: Member, runtime: Runtime) -> None:
        super().__init__(job, member, runtime)
        config = job.config
        self._fit, self._held_out = config, job.held_out
        is_synchronised = member.num_members > 1 and runtime.device.type == "cuda" and not config.freeze_batch_norm
        require_several_images(config, is_synchronised=is_synchronised)
        network = new_network(config, len(job.training.classes.train_names))
        if is_synchronised:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.state = open_state(network, config, runtime)
        self.network = runtime.compiled(Outputs(network, self._objective.features))
        network.train()
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

    def look(self, output: StepOutput, log: RunLog | None) -> str:  # noqa: ARG002 (of no interest here)
        """All members validate together; the first keeps the best network, and draws."""
        held_out = self._held_out
        assert held_out is not None
        inference = Inference(window=self._fit.val_window)
        numbers = spread(len(held_out.records), self._config.max_val_images)
        scores = validate(self.state.average, held_out, numbers, inference, self._runtime, self._member)
        self._noted(scores, log)
        if log:
            self._draw(log, [numbers[each] for each in spread(len(numbers), NUM_PICTURES)], held_out, inference)
        return f"epoch {self.state.step // self._steps_per_epoch}: {scores}"

    def save_network(self, name: str, about: Mapping[str, Any]) -> None:
        classes = self._job.training.classes
        about = {"trained_by": "segtrain fit", **about}
        save_network(self._config.out / name, self.state.average, classes=classes, about=about)

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
