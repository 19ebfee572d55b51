"""The training of a scheme for video: what it makes of clips, how it is validated, and what is kept of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.timing import Stopwatch
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.task import Losses
from propagate.data.clip import Clip, within
from propagate.scoring.metrics import confusion
from sdcnet.motion.estimator import ObservedPixels
from sdcnet.motion.registry import open_estimator
from segtrain.data.batches import Batch
from segtrain.errors import InferenceError
from segtrain.fit.labelled import LabelledJob, LabelledTask, open_state
from segtrain.fit.validation import ValidationScores, evaluating, spread, together
from segtrain.losses.objective import StepOutput
from segtrain.trained import open_trained
from segtrain.video.clips import read_clip
from segtrain.video.learnt import Followed, Learnt, save_learnt
from segtrain.video.observations import observed
from segtrain.video.registry import LEARNT
from segtrain.video.stepper import Motion, Seen, Stepper
from segtrain.video.stepping import Stepped, stepped
from segtrain.video.warping import gated
from segtrain.video_fit.config import VideoFitConfig


@dataclass(frozen=True, kw_only=True)
class VideoJob(LabelledJob):
    """clips: what is validated on, if anything, each with the frames before its annotated one."""

    config: VideoFitConfig
    clips: Sequence[Clip]

    def open(self, member: Member, runtime: Runtime) -> "VideoTask":
        return VideoTask(self, member, runtime)


class ClipOutput(NamedTuple):
    """Of the annotated frames, and the losses of what led there, by name."""

    annotated: StepOutput
    losses: Mapping[str, Tensor]


class _Following(nn.Module):
    """A module, since a crew exchanges gradients only of what goes through one call of its forward pass."""

    def __init__(self, learnt: Learnt) -> None:
        super().__init__()
        self.learnt = learnt

    def forward(self, images: Sequence[Tensor], motions: Sequence[Motion]) -> Followed:
        return self.learnt.follow_clip(images, motions)


class VideoTask(LabelledTask):
    """See `jobs.training.task.Task`."""

    def __init__(self, job: VideoJob, member: Member, runtime: Runtime) -> None:
        super().__init__(job, member, runtime)
        config = job.config
        self._fit, self._clips = config, job.clips
        if self._objective.offsets or self._objective.features:
            raise FitError(f"the loss {config.loss} looks at more than labels, which only `segtrain fit` gives it")
        trained = open_trained(config.base, runtime, architecture=config.architecture, classes=job.training.classes)
        self._base = trained.network
        learnt = new_learnt(config, self._base).to(runtime.device)
        self.state = open_state(learnt, config, runtime, learnt.parameter_groups())
        self.network = runtime.compiled(_Following(learnt))
        learnt.train()
        self._estimator = open_estimator(config.motion_settings(device=config.device, dtype=config.dtype))

    @property
    def title(self) -> str:
        return f"{self._fit.scheme} on {self._base.architecture}"

    @property
    def is_validated(self) -> bool:
        return bool(self._clips)

    def forward(self, network: Callable[..., Followed], batch: Batch) -> ClipOutput:
        """Motion is found on the frames as they are augmented, so that it is theirs."""
        assert batch.neighbours is not None
        clips = [
            self._seen([*before.split(1), image[None]])
            for before, image in zip(batch.neighbours, batch.image, strict=True)
        ]
        images = [torch.cat([seen.image for seen in frames]) for frames in zip(*clips, strict=True)]
        motions = [
            Motion(*(torch.cat(parts) for parts in zip(*(gated(seen, self._fit.gate) for seen in frames), strict=True)))
            for frames in zip(*(clip[1:] for clip in clips), strict=True)
        ]
        followed = network(images, motions)
        epoch, _ = self._epochs.place(self.state.step)
        annotated = StepOutput(logits=followed.logits, batch=batch.to(self._runtime.device), epoch=epoch)
        return ClipOutput(annotated, followed.losses)

    def losses(self, output: ClipOutput) -> Losses:
        total, terms = self._objective(output.annotated)
        for name, loss in output.losses.items():
            total = total + self._fit.consistency * loss
            terms = {**terms, f"loss/{name}": loss.detach()}
        return Losses(total, {**terms, "loss": total.detach()})

    def look(self, output: ClipOutput, log: RunLog | None) -> str:  # noqa: ARG002 (of no interest here)
        """All members validate together: each clip at one distance from its key frame, evenly from the largest on."""
        numbers = spread(len(self._clips), self._config.max_val_images)
        classes = self._job.training.classes
        num_classes = len(classes.train_names)
        matrix = np.zeros((num_classes, num_classes + 1), np.int64)
        learnt, watch = self.state.average, Stopwatch()
        with evaluating(learnt):
            stepper = learnt.stepper(self._fit.interval)
            for place in range(self._member.rank, len(numbers), self._member.num_members):
                distance = stepper.phases[-1 - place * len(stepper.phases) // len(numbers)]
                wanted = within(self._clips[numbers[place]], range(-distance, 1))
                clip = read_clip(wanted, classes, self._estimator, self._runtime, watch)
                last = self._last(stepper, clip.frames, watch)
                matrix += confusion(clip.truth, last.labels.numpy(), num_classes)
        scores = ValidationScores.of(together(matrix, self._member), classes.train_names, len(numbers))
        self._noted(scores, log)
        return f"epoch {self._epochs.place(self.state.step)[0]}: {scores}"

    def _last(self, stepper: Stepper, frames: Sequence[Seen], watch: Stopwatch) -> Stepped:
        """What is made of the last of the frames. Raises: FitError where it cannot be scored."""
        try:
            *_, last = stepped(stepper, frames, self._runtime, watch)
        except InferenceError as error:
            raise FitError(
                f"the scheme cannot be validated: {error}. The last checkpoint is kept; train anew with a lower "
                "--learning-rate or another --dtype"
            ) from None
        return last

    def save_network(self, name: str, about: Mapping[str, Any]) -> None:
        learnt = self.state.average
        about = {"trained_by": "segtrain video fit", "findings": learnt.findings(), **about}
        save_learnt(self._config.out / name, learnt, about)

    def _seen(self, frames: Sequence[Tensor]) -> list[Seen]:
        """The frames [1,3,H,W] uint8 of a sample."""
        return list(observed(map(ObservedPixels, frames), self._estimator, self._runtime, Stopwatch()))


def new_learnt(config: VideoFitConfig, base: Any) -> Learnt:
    """What a training begins with. Raises: FitError for stages of which the base can make nothing."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return LEARNT[config.scheme].on(base, config.scheme_settings)
    except ValueError as error:
        raise FitError(f"scheme '{config.scheme}' on {base.architecture}: {error}") from None
