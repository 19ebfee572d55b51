"""What a training does beside its steps: it validates, keeps records, saves, and reports."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from jobs.console.progress import Advance
from jobs.crew.member import Member
from jobs.training.run_folder import save_checkpoint
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from propagate.classes import ClassTable
from segtrain.checkpoints import save_network
from segtrain.fit.drawing import segmentation_picture
from segtrain.fit.job import BEST, LAST, Job
from segtrain.fit.pictures import Segmented, save_pictures
from segtrain.fit.state import TrainState
from segtrain.fit.validation import Scores, predict, spread, validate
from segtrain.inference import Inference

LOG_EVERY = 20  # steps
REPORT_EVERY = 1.0  # seconds
NUM_PICTURES = 4  # of a validation


class Recorder:
    """All members validate together; the first of them writes and reports.

    `scores` are those of the last validation, `best` is the highest mIoU so far.
    """

    def __init__(
        self, job: Job, member: Member, runtime: Runtime, state: TrainState, saved: Mapping[str, Any] | None
    ) -> None:
        self.scores = Scores(**saved["scores"]) if saved and saved["scores"] else None
        self.best: float | None = saved["best"] if saved else None
        self._job, self._member, self._runtime, self._state = job, member, runtime, state
        self._num_steps = 0
        self._log = RunLog(job.config.out, state.step) if member.rank == 0 else None
        self._losses: list[Tensor] = []  # since the last line of the log
        self._line_at = self._reported_at = time.monotonic()

    def begin(self, num_steps: int) -> None:
        self._num_steps = num_steps
        if self._log:
            self._log.write(
                self._state.step,
                steps=num_steps,
                workers=self._member.num_members,
                device=str(self._runtime.device),
                config=json.loads(json.dumps(asdict(self._job.config), default=str)),  # paths as they are here
            )
        self._report(self._beginning())

    def _beginning(self) -> str:
        """What is trained, on what, and what is worth knowing before hours have passed."""
        config, training, step = self._job.config, self._job.training, self._state.step
        begins = f"goes on after step {step} of {self._num_steps}" if step else f"{self._num_steps} steps"
        told = [f"{config.network} on {self._runtime.device}, {len(training.records)} samples, {begins}"]
        absent = [training.classes.train_names[train_id] for train_id in self._job.epoch(0).absent]
        if absent:
            told.append(f"without a pixel to train on: {', '.join(absent)}")
        height, width = training.size(0)
        if config.scale[1] * height < config.crop[0] and config.scale[1] * width < config.crop[1]:
            asked = "x".join(map(str, config.crop))
            told.append(f"images of {height}x{width} fill crops of {asked} in part only; a smaller --crop is quicker")
        if self._job.held_out is None:
            told.append("nothing to validate on")
        return "\n".join(told)

    def after_step(self, rate: float, loss: Tensor, *, is_epoch_end: bool) -> None:
        step, config = self._state.step, self._job.config
        is_last = step == self._num_steps
        self._losses.append(loss)
        if self._log and (step % LOG_EVERY == 0 or is_epoch_end):
            self._write_losses(self._log, step, rate)
        line = None
        if is_epoch_end and self._job.held_out is not None:
            epoch = round(step * config.epochs / self._num_steps)
            if epoch % config.validate_every == 0 or is_last:
                line = f"epoch {epoch}: {self._validate(step)}"
        if step % config.save_every == 0 or is_epoch_end:
            self._save()
        if line or is_last or time.monotonic() - self._reported_at > REPORT_EVERY:
            self._report(line)

    def _report(self, line: str | None = None) -> None:
        if self._member.rank == 0:
            self._member.report(Advance(self._state.step, self._num_steps, line))
        self._reported_at = time.monotonic()

    def close(self) -> None:
        if self._log:
            self._log.close()

    def _write_losses(self, log: RunLog, step: int, rate: float) -> None:
        now = time.monotonic()
        speed = len(self._losses) * self._job.config.batch_size / (now - self._line_at)
        loss = torch.stack(self._losses).mean().item()
        log.write(step, loss=loss, learning_rate=rate, samples_per_second=speed)
        self._losses, self._line_at = [], now

    def _validate(self, step: int) -> Scores:
        config, held_out = self._job.config, self._job.held_out
        assert held_out is not None
        inference = Inference(window=config.val_window)
        numbers = spread(len(held_out.records), config.max_val_images)
        self.scores = validate(self._state.average, held_out, numbers, inference, self._runtime, self._member)
        is_best = self.scores.miou > (-math.inf if self.best is None else self.best)
        self.best = self.scores.miou if is_best else self.best
        if self._log:
            classes = {f"iou/{name}": value for name, value in self.scores.iou.items()}
            self._log.write(step, miou=self.scores.miou, accuracy=self.scores.accuracy, **classes)
            if is_best:
                self._save_network(BEST)
            shown = [numbers[each] for each in spread(len(numbers), NUM_PICTURES)]
            self._draw(self._log, step, shown, inference)
        self._line_at = time.monotonic()
        return self.scores

    def _draw(self, log: RunLog, step: int, numbers: Sequence[int], inference: Inference) -> None:
        """A few of the images that were validated on: all for the run's page, the first for TensorBoard."""
        held_out = self._job.held_out
        assert held_out is not None
        images = []
        for number in numbers:
            pixels = held_out.read(number)
            found = predict(self._state.average, pixels.image, inference, self._runtime)
            images.append(Segmented(held_out.records[number].key, pixels, found))
        first = images[0]
        log.draw(step, "image, truth, prediction", segmentation_picture(first.pixels, first.found, held_out.classes))
        save_pictures(self._job.config.out, step, images, held_out.classes)

    def _save(self) -> None:
        if self._member.rank == 0:
            self._save_network(LAST)  # first: a training whose checkpoint says that it is at its end does nothing more
            scores = asdict(self.scores) if self.scores else None
            save_checkpoint(self._job.config.out, self._state.saved() | {"scores": scores, "best": self.best})

    def _save_network(self, name: str) -> None:
        classes: ClassTable = self._job.training.classes
        about = {
            "trained_by": "segtrain fit",
            "steps": self._state.step,
            "scores": asdict(self.scores) if self.scores else None,
            "settings": self._job.settings,
        }
        network = self._state.average
        save_network(self._job.config.out / name, network, class_names=classes.train_names, about=about)
