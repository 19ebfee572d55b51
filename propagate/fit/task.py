"""The training of a corrector as the one loop runs it: what a step sees, what it costs, how it is watched."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.optimisers import OPTIMISERS, Descent
from jobs.training.run_folder import versions
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.schedules import poly
from jobs.training.state import TrainState
from jobs.training.task import Due, Losses
from propagate.carry.corrector import NEVER, LabelCorrector
from propagate.carry.corrector_files import evidence_settings, save_corrector
from propagate.carry.sample_settings import SampleSettings
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.fit.config import FitConfig
from propagate.fit.examples import Example, cut, place_of
from propagate.fit.validation import CorrectionScores, validate

CORRECTOR = "corrector.safetensors"  # in the run folder: the averaged weights, as of the last checkpoint
LOG_EVERY = 20  # steps
WARM_UP = 50  # steps
POWER = 0.9
DECAY = 0.99  # of the moving average of weights
WEIGHT_DECAY = 1e-3
LARGEST_GRADIENT = 5.0  # its norm over all weights
RAREST = 1e-3  # of pixels: rarer classes weigh as much
WRONG_SHARE = 0.8  # of crops lie around a wrong pixel, of a class that is drawn
BRIGHTNESS, CONTRAST = (15.0, 8.0), (0.2, 0.15)  # at most, of all channels and of each: grey levels, and a share
_NONE = -100  # in place of a class


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the member of the crew is told. cell: of the corrector; examples: to learn from; held_out: to score on."""

    config: FitConfig
    settings: dict[str, Any]
    classes: ClassTable
    cell: int
    examples: Sequence[Example]
    held_out: Sequence[Example]
    dtype: str = "float32"
    compile: bool = False

    @property
    def out(self) -> Path:
        return self.config.out

    def open(self, member: Member, runtime: Runtime) -> "CorrectorTask":  # noqa: ARG002
        return CorrectorTask(self, runtime)


class Batch(NamedTuple):
    """Crops of frames [B,3,H,W] float32 RGB levels, classes and truth [B,H,W] uint8, evidence [B,NUM_EVIDENCE,H,W]."""

    frames: Tensor
    classes: Tensor
    evidence: Tensor
    truth: Tensor


class CorrectorTask:
    """See `jobs.training.task.Task`."""

    num_parts = 1
    speed = ("steps_per_second", 1.0)

    def __init__(self, job: Job, runtime: Runtime) -> None:
        self._job, self._config, self._runtime = job, job.config, runtime
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._config.seed)
            self.network = LabelCorrector(len(job.classes.train_names), job.cell).train()
        self.state = TrainState(
            self.network,
            runtime,
            OPTIMISERS["adamw"],
            Descent(weight_decay=WEIGHT_DECAY),
            decay=DECAY,
            largest_gradient=LARGEST_GRADIENT,
        )
        self.seed, self.num_steps = self._config.seed, self._config.steps
        self._digest = digest_of([*job.examples, *job.held_out])
        for network in (self.network, self.state.average):
            network.margin.fill_(NEVER)  # until something is won by it
        self._weights = class_weights(job.examples, self.network.num_classes).to(runtime.device)
        self._scores: CorrectionScores | None = None

    def recall(self, saved: Mapping[str, Any]) -> None:
        if saved["examples"] != self._digest:
            raise FitError(
                f"{self._config.out}: begun with other examples than those there are now; see above what was left out, "
                "mend that, or choose another --out"
            )
        self._scores = CorrectionScores(**saved["scores"]) if saved["scores"] else None

    def memory(self) -> dict[str, Any]:
        return {"scores": asdict(self._scores) if self._scores else None, "examples": self._digest}

    def introduction(self) -> str | None:
        size = "x".join(map(str, self._config.crop))
        return (
            f"{len(self._job.examples)} windows to learn from, in crops of {size}, {len(self._job.held_out)} frames to "
            "score on"
        )

    def beginning(self) -> dict[str, Any]:
        return {"versions": library_versions(), "device": str(self._runtime.device)}

    def batches(self, steps: range) -> Iterator[Batch]:
        for step in steps:
            yield _batch([self._drawn((step, index)) for index in range(self._config.batch_size)])

    def forward(self, network: Callable[..., Tensor], batch: Batch) -> tuple[Tensor, Batch]:
        batch = Batch(*(each.to(self._runtime.device) for each in batch))
        return network(batch.frames, batch.classes, batch.evidence), batch

    def losses(self, output: tuple[Tensor, Batch]) -> Losses:
        """Cross entropy, of pixels to which a class was carried: others keep having none.

        Rare classes weigh more, and are taken to be as much more frequent, so that this is undone in the network's own
        probabilities; that most crops lie around wrong labels is not.
        """
        found, batch = output
        counts = (batch.classes != IGNORE_TRAIN_ID) & (batch.truth != IGNORE_TRAIN_ID)
        truth = batch.truth.long().masked_fill(~counts, _NONE)
        weighted = found + self._weights.log().view(1, -1, 1, 1)
        cost = functional.cross_entropy(weighted, truth, self._weights, ignore_index=_NONE, reduction="sum")
        weight = (self._weights[truth.clamp(min=0)] * counts).sum()
        total = cost / weight.clamp(min=self._weights.min())  # a batch may have nothing to learn from
        return Losses(total, {"loss": total})

    def learning_rate(self, step: int) -> float:
        return self._config.learning_rate * min(1, (step + 1) / WARM_UP) * poly(step, self.num_steps, POWER)

    def due(self, step: int) -> Due:
        config, is_last = self._config, step == self.num_steps
        return Due(
            log=step % LOG_EVERY == 0 or is_last,
            look=step % config.validate_every == 0 or is_last,
            save=step % config.save_every == 0 or is_last,
        )

    def look(self, output: tuple[Tensor, Batch], log: RunLog | None) -> str | None:  # noqa: ARG002
        if log is None:
            return None
        self._scores = validate(self.state.average, self._job.held_out, self._runtime)
        for network in (self.network, self.state.average):
            network.margin.fill_(self._scores.margin)
        log.write(self.state.step, **asdict(self._scores))
        return f"step {self.state.step}: {self._scores}"

    def save_networks(self) -> None:
        about = {
            "trained_by": "propagate fit-corrector",
            "steps": self.state.step,
            "scores": asdict(self._scores) if self._scores else None,
            "recipe": self._job.settings,
        }
        save_corrector(
            self._config.out / CORRECTOR,
            self.state.average,
            self._job.classes,
            taught_with=evidence_settings(self._config.motion.name, SampleSettings()),
            about=about,
        )

    def not_finite(self, step: int, rate: float, loss: float) -> FitError:
        return FitError(
            f"loss or gradient of step {step} is not finite (loss {loss}, learning rate {rate:.3g}). The last "
            f"checkpoint in {self._config.out} is kept; train anew with a lower --learning-rate"
        )

    def _drawn(self, key: tuple[int, int]) -> Batch:
        """The crop of that step and index: it follows from these and the seed alone."""
        random = np.random.default_rng((self.seed, *key))
        example = self._job.examples[int(random.integers(len(self._job.examples)))]
        crop = self._config.crop
        if random.random() < WRONG_SHARE:
            place = place_of(example, crop, random)
        else:
            height, width = example.truth.shape
            place = int(random.integers(height - crop[0] + 1)), int(random.integers(width - crop[1] + 1))
        found = cut(example, place, crop)
        gain, offset = (
            (random.uniform(-most[0], most[0]) + random.uniform(-most[1], most[1], (3, 1, 1))).astype(np.float32)
            for most in (CONTRAST, BRIGHTNESS)
        )
        frame = (found.frame * (1 + torch.from_numpy(gain)) + torch.from_numpy(offset)).clamp(0, 255)
        drawn = (frame, found.classes, found.evidence.float(), found.truth)
        return Batch(*(each.flip(-1) for each in drawn)) if random.random() < 0.5 else Batch(*drawn)


def digest_of(examples: Sequence[Example]) -> str:
    """The SHA-256 of all that they hold."""
    found = sha256()
    for example in examples:
        for each in (example.frame, example.classes, example.truth, example.evidence):
            found.update(each.contiguous().numpy().tobytes())
    return found.hexdigest()


def class_weights(examples: Sequence[Example], num_classes: int) -> Tensor:
    """One over the root of how frequent each class is, [C] float32; of those that are hardly there, not more yet."""
    counts = torch.zeros(256, dtype=torch.int64)
    for example in examples:
        counts += torch.bincount(example.truth.flatten().long(), minlength=256)
    share = counts[:num_classes] / counts[:num_classes].sum().clamp(min=1)
    return (share + RAREST).rsqrt()


def _batch(drawn: Sequence[Batch]) -> Batch:
    return Batch(*(torch.stack(each) for each in zip(*drawn, strict=True)))


def library_versions() -> dict[str, str]:
    return versions(torch, np, cv2)
