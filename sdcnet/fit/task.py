"""The training of a video predictor as the one loop runs it: what a step sees, what it costs, how it is watched.

Reference: Reda et al., ECCV 2018; Zhu et al., CVPR 2019.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import PIL
import torch
from torch import Tensor

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.optimisers import OPTIMISERS, Descent
from jobs.training.run_folder import versions
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.state import TrainState
from jobs.training.task import Due, Losses
from sdcnet.fit.config import ARCHITECTURES, FitConfig
from sdcnet.fit.drawing import prediction_picture
from sdcnet.fit.initial import initialise
from sdcnet.fit.samples import Batch, Samples, StepKeys, Windows, load_batches
from sdcnet.fit.schedules import learning_rate
from sdcnet.fit.validation import PhotometricScores, validate
from sdcnet.losses import prediction_losses
from sdcnet.motion.pair_flow import PairFlow, open_pair_flow
from sdcnet.networks.checkpoints import load_predictor, save_network
from sdcnet.networks.predictor import Prediction, VideoPredictor

PREDICTOR = "predictor.safetensors"  # in the run folder: the averaged weights, as of the last checkpoint
LOG_EVERY = 20  # steps
DECAY = 1 - 1 / 1000  # of the moving average of weights: it forgets a step's after about a thousand
WEIGHT_DECAY = 1e-4
LARGEST_GRADIENT = 10.0  # its norm over all weights; a usual one is 1…7


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every member of a crew is told."""

    config: FitConfig
    settings: dict[str, Any]
    windows: Windows
    held_out: Windows | None
    compile: bool = False

    @property
    def out(self) -> Path:
        return self.config.out

    @property
    def dtype(self) -> str:
        return self.config.dtype

    def open(self, member: Member, runtime: Runtime) -> "PredictorTask":
        return PredictorTask(self, member, runtime)


class Predicted(NamedTuple):
    """What a step gave: the prediction, and the true frame [B,3,H,W] float32 BGR."""

    prediction: Prediction
    target: Tensor


class PredictorTask:
    """See `jobs.training.task.Task`."""

    num_parts = 1
    speed = ("steps_per_second", 1.0)

    def __init__(self, job: Job, member: Member, runtime: Runtime) -> None:
        self._job, self._config, self._member, self._runtime = job, job.config, member, runtime
        self._flows = open_pair_flow(self._config.input_flow, self._config.flownet2_weights, runtime)
        self.network = new_network(self._config).train()
        self.state = TrainState(
            self.network,
            runtime,
            OPTIMISERS["adamw"],
            Descent(weight_decay=WEIGHT_DECAY),
            decay=DECAY,
            largest_gradient=LARGEST_GRADIENT,
            optimiser_field="optimizer",  # as checkpoints have always called it here
        )
        self.seed, self.num_steps = self._config.seed, self._config.steps
        self._scores: PhotometricScores | None = None
        in_loader = self._config.input_flow == "dis"  # on the CPU: beside the step; a network's flows are made in it
        self._samples = samples_of(self._config, job.windows, self._flows if in_loader else None)
        share = self._config.batch_size // member.num_members
        self._share = range(member.rank * share, (member.rank + 1) * share)

    def recall(self, saved: Mapping[str, Any]) -> None:
        self._scores = PhotometricScores(**saved["scores"]) if saved["scores"] else None

    def memory(self) -> dict[str, Any]:
        return {"scores": asdict(self._scores) if self._scores else None}

    def introduction(self) -> None:
        return None

    def beginning(self) -> dict[str, Any]:
        return {"versions": library_versions(), "device": str(self._runtime.device)}

    def batches(self, steps: range) -> Iterator[Batch]:
        return load_batches(
            self._samples,
            StepKeys(steps, self._share),
            num_workers=self._config.loader_workers,
            pinned=self._runtime.device.type == "cuda",
        )

    def forward(self, network: Callable[..., Prediction], batch: Batch) -> Predicted:
        num_seen = self.network.num_frames
        frames, flows = self._on_device(batch, num_seen)
        return Predicted(network(frames[:, :num_seen], flows), frames[:, -1].float())

    def losses(self, output: Predicted) -> Losses:
        losses = prediction_losses(*output)
        return Losses(losses.total, {f"loss/{name}": value for name, value in losses._asdict().items()})

    def learning_rate(self, step: int) -> float:
        return learning_rate(self._config.schedule, step, self._config.steps, self._config.learning_rate)

    def due(self, step: int) -> Due:
        config, is_last = self._config, step == self._config.steps
        return Due(
            log=step % LOG_EVERY == 0 or is_last,
            look=step % config.validate_every == 0 or is_last,
            save=step % config.save_every == 0 or is_last,
        )

    def look(self, output: Predicted, log: RunLog | None) -> str | None:
        """The first member alone validates; the others wait for it in the next step."""
        if log is None:
            return None
        step = self.state.step
        log.draw(step, "target, prediction, flow", prediction_picture(output.target, output.prediction))
        if self._job.held_out is None:
            return None
        self._scores = validate(self.state.average, self._job.held_out, self._flows, self._runtime)
        log.write(step, **asdict(self._scores))
        return f"step {step}: {self._scores}"

    def save_networks(self) -> None:
        about = {"trained_by": "sdcnet fit", "steps": self.state.step, **self.memory(), "recipe": self._job.settings}
        save_network(self._config.out / PREDICTOR, self.state.average, about=about)

    def not_finite(self, step: int, rate: float, loss: float) -> FitError:
        seen = "; ".join(self._samples.describe((step, index)) for index in self._share)
        return FitError(
            f"loss or gradient of step {step} is not finite (loss {loss}, learning rate {rate:.3g}, "
            f"{self._config.dtype}), in a batch of {seen}. The last checkpoint in {self._config.out} is kept; train "
            "anew with a lower --learning-rate, or another --dtype"
        )

    def _on_device(self, batch: Batch, num_seen: int) -> tuple[Tensor, Tensor]:
        """Frames [B,T,3,H,W] uint8 BGR, and the flows between those that are seen."""
        frames = batch.frames.to(self._runtime.device, non_blocking=True)
        if batch.flows is not None:
            return frames.flip(2), batch.flows.to(self._runtime.device, non_blocking=True)
        with torch.autocast(self._runtime.device.type, enabled=False):  # flows compute as their own runtime says
            between = self._flows(frames[:, 1:num_seen].flatten(0, 1), frames[:, : num_seen - 1].flatten(0, 1))
        return frames.flip(2), between.unflatten(0, (len(frames), num_seen - 1))


def samples_of(config: FitConfig, windows: Windows, flows: PairFlow | None) -> Samples:
    """The samples of a training. flows: computes flows where samples are read; None leaves that to the step."""
    num_seen = config.history + ARCHITECTURES[config.architecture].sees_target
    return Samples(windows, num_seen, config.crop, config.seed, flows)


def new_network(config: FitConfig) -> VideoPredictor:
    """The network to begin with. Raises: CheckpointError; FitError, where given weights are of another network."""
    if config.weights is None:
        network = ARCHITECTURES[config.architecture](num_history=config.history, width=config.width)
        initialise(network, config.seed)
        return network
    network = load_predictor(config.weights)
    found = (type(network).__name__, network.num_history, network.width)
    expected = (config.architecture, config.history, config.width)
    if found != expected:
        said, asked = ("{} with --history {} --width {:g}".format(*each) for each in (found, expected))
        raise FitError(f"{config.weights}: holds {said}, asked for was {asked}; give the settings of the file")
    return network


def library_versions() -> dict[str, str]:
    return versions(torch, np, cv2, av, PIL)
