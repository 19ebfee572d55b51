"""Self-supervised training of a video predictor: frames to weights, resumed exactly where it was interrupted.

Reference: Reda et al., ECCV 2018; Zhu et al., CVPR 2019.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import av
import cv2
import numpy as np
import PIL
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jobs.console.progress import Advance
from jobs.crew.launch import launch
from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.devices import GPUS_PER_WORKER
from jobs.training.run_folder import begin, load_checkpoint, locked, save_checkpoint, versions
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime, open_runtime
from sdcnet.fit.config import ARCHITECTURES, FitConfig
from sdcnet.fit.drawing import prediction_picture
from sdcnet.fit.initial import initialise
from sdcnet.fit.samples import Batch, Samples, StepKeys, Windows, load_batches
from sdcnet.fit.schedules import learning_rate
from sdcnet.fit.state import TrainState
from sdcnet.fit.validation import Scores, validate
from sdcnet.frames import open_sequences
from sdcnet.losses import Losses, prediction_losses
from sdcnet.motion.pair_flow import PairFlow, open_pair_flow
from sdcnet.networks.checkpoints import load_predictor, save_network
from sdcnet.networks.predictor import Prediction, VideoPredictor

PREDICTOR = "predictor.safetensors"  # in the run folder: the averaged weights, as of the last checkpoint
LOG_EVERY = 20  # steps
REPORT_EVERY = 1.0  # seconds


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """What a training has come to; `scores` of its last validation, if there was one."""

    steps: int
    seconds: float
    scores: Scores | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every member of a crew is told."""

    config: FitConfig
    recipe: dict[str, Any]
    windows: Windows
    held_out: Windows | None


def fit(config: FitConfig, on_report: Callable[[Advance], None] = lambda _: None) -> FitSummary:
    """Train a predictor in the folder `config.out`, or go on with the training that was begun there.

    On a CPU, with the same number of threads and workers, an interrupted and resumed training gives the weights of
    an uninterrupted one, bit for bit. The samples of a step never depend on workers.

    Raises: FrameError, CheckpointError, MotionError, JobError; RunFolderError, where settings or data have changed
    since it was begun, or something cannot be written; FitError, where the loss is not finite. What was saved before
    stays.
    """
    if config.num_workers == 1 and config.address is None:
        open_runtime(config.device, config.dtype)  # says what is missing
    length = config.history + 1
    windows = Windows(open_sequences(config.sources), length)
    held_out = Windows(open_sequences(config.validation), length) if config.validation else None
    recipe = config.recipe(windows.sequences, held_out.sequences if held_out else ())
    config = replace(config, out=config.out.resolve())
    _samples(config, windows, None)  # says whether they can be cropped
    with locked(config.out):
        begin(config.out, recipe, _versions())
        return launch(
            partial(_train, Job(config=config, recipe=recipe, windows=windows, held_out=held_out)),
            num_workers=config.num_workers,
            address=config.address,
            gpus_per_worker=GPUS_PER_WORKER[config.device],
            on_report=on_report,
        )


def _versions() -> dict[str, str]:
    return versions(torch, np, cv2, av, PIL)


def _samples(config: FitConfig, windows: Windows, flows: PairFlow | None) -> Samples:
    num_seen = config.history + ARCHITECTURES[config.architecture].sees_target
    return Samples(windows, num_seen, config.crop, config.seed, flows)


def _new_network(config: FitConfig) -> VideoPredictor:
    """The network to begin with. Raises CheckpointError; FitError, where given weights are of another network."""
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


def _train(job: Job, member: Member) -> FitSummary:
    """One member's part: it steps with all others; the first of them validates, writes and reports."""
    config = job.config
    runtime = Runtime(device=member.device, dtype=getattr(torch, config.dtype))
    flows = open_pair_flow(config.input_flow, config.flownet2_weights, runtime)
    state = TrainState(_new_network(config), runtime)
    saved = load_checkpoint(config.out)
    if saved is not None:
        state.restore(saved)
    scores = Scores(**saved["scores"]) if saved and saved["scores"] else None
    member.report(Advance(state.step, config.steps))
    started = time.monotonic()
    if state.step < config.steps:
        recorder = Recorder(job, member.report, runtime, flows, state.step, scores) if member.rank == 0 else None
        try:
            _run_steps(job, member, state, flows, runtime, recorder)
        finally:
            if recorder:
                recorder.close()
        scores = recorder.scores if recorder else None
    return FitSummary(steps=config.steps, seconds=time.monotonic() - started, scores=scores)


def _run_steps(
    job: Job, member: Member, state: TrainState, flows: PairFlow, runtime: Runtime, recorder: "Recorder | None"
) -> None:
    config = job.config
    network: nn.Module = state.network
    if member.num_members > 1:
        network = DistributedDataParallel(network, broadcast_buffers=False)
    share = config.batch_size // member.num_members
    in_loader = config.input_flow == "dis"  # on the CPU: beside the step; a network's flows are computed in the step
    samples = _samples(config, job.windows, flows if in_loader else None)
    keys = StepKeys(range(state.step, config.steps), range(member.rank * share, (member.rank + 1) * share))
    batches = load_batches(samples, keys, num_workers=config.loader_workers, pinned=runtime.device.type == "cuda")
    for batch in batches:
        frames, input_flows = _on_device(batch, state.network.num_frames, flows, runtime)
        rate = learning_rate(config.schedule, state.step, config.steps, config.learning_rate)
        with runtime.autocast():
            prediction = network(frames[:, : state.network.num_frames], input_flows)
        target = frames[:, -1].float()
        losses = prediction_losses(prediction, target)
        if not state.learn(losses.total, rate):
            seen = "; ".join(samples.describe((state.step, index)) for index in keys.share)
            raise FitError(
                f"loss or gradient of step {state.step} is not finite (loss {losses.total.item()}, learning rate "
                f"{rate:.3g}, {config.dtype}), in a batch of {seen}. The last checkpoint in {config.out} is "
                "kept; train anew with a lower --learning-rate, or another --dtype"
            )
        if recorder:
            recorder.after_step(state, rate, losses, prediction, target)


def _on_device(batch: Batch, num_seen: int, flows: PairFlow, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Frames [B,T,3,H,W] uint8 BGR, and the flows between those that are seen."""
    frames = batch.frames.to(runtime.device, non_blocking=True)
    if batch.flows is not None:
        return frames.flip(2), batch.flows.to(runtime.device, non_blocking=True)
    between = flows(frames[:, 1:num_seen].flatten(0, 1), frames[:, : num_seen - 1].flatten(0, 1))
    return frames.flip(2), between.unflatten(0, (len(frames), num_seen - 1))


class Recorder:
    """What the first member does beside the steps: it keeps records, validates, saves, and reports."""

    def __init__(
        self,
        job: Job,
        report: Callable[[Advance], None],
        runtime: Runtime,
        flows: PairFlow,
        step: int,
        scores: Scores | None,
    ) -> None:
        self.scores = scores
        self._job, self._config, self._report = job, job.config, report
        self._runtime, self._flows = runtime, flows
        self._log = RunLog(job.config.out, step)
        self._log.write(step, versions=_versions(), device=str(runtime.device))
        self._since: list[Tensor] = []  # the losses of the steps since the last line of the log
        self._line_at = self._reported_at = time.monotonic()

    def after_step(
        self, state: TrainState, rate: float, losses: Losses, prediction: Prediction, target: Tensor
    ) -> None:
        step, config = state.step, self._config
        is_last = step == config.steps
        self._since.append(torch.stack(losses).detach())
        if step % LOG_EVERY == 0 or is_last:
            self._write_losses(step, rate)
        line = None
        if step % config.validate_every == 0 or is_last:
            self._log.draw(step, "target, prediction, flow", prediction_picture(target, prediction))
            if self._job.held_out:
                self.scores = validate(state.average, self._job.held_out, self._flows, self._runtime)
                self._log.write(step, **asdict(self.scores))
                line = f"step {step}: {self.scores}"
        if step % config.save_every == 0 or is_last:
            self._save(state)
        if line or is_last or time.monotonic() - self._reported_at > REPORT_EVERY:
            self._report(Advance(step, config.steps, line))
            self._reported_at = time.monotonic()

    def close(self) -> None:
        self._log.close()

    def _write_losses(self, step: int, rate: float) -> None:
        means = torch.stack(self._since).mean(0).tolist()
        now = time.monotonic()
        speed = len(self._since) / (now - self._line_at)
        named = {f"loss/{name}": value for name, value in zip(Losses._fields, means, strict=True)}
        self._log.write(step, **named, learning_rate=rate, steps_per_second=speed)
        self._since, self._line_at = [], now

    def _save(self, state: TrainState) -> None:
        scores = asdict(self.scores) if self.scores else None
        about = {"trained_by": "sdcnet fit", "steps": state.step, "scores": scores, "recipe": self._job.recipe}
        # first: a training whose checkpoint says that it is at its end does nothing more
        save_network(self._config.out / PREDICTOR, state.average, about=about)
        save_checkpoint(self._config.out, state.saved() | {"scores": scores})
