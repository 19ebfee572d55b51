"""Training of a segmentation network: samples to weights, resumed exactly where it was interrupted.

Reference: Zhu et al., CVPR 2019.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import cv2
import h5py
import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from jobs.console.progress import Advance
from jobs.crew.launch import launch
from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.devices import GPUS_PER_WORKER
from jobs.training.run_folder import begin, load_checkpoint, locked, versions
from jobs.training.runtime import Runtime, open_runtime
from segtrain.checkpoints import load_trunk_weights, load_weights, read_checkpoint
from segtrain.data.batches import Batch, load_batches
from segtrain.data.sampling import Epoch
from segtrain.data.transforms import Augmentation
from segtrain.fit.config import FitConfig
from segtrain.fit.job import Job
from segtrain.fit.objective import learning_rate, open_objective
from segtrain.fit.recorder import Recorder
from segtrain.fit.sources import described, open_sources
from segtrain.fit.state import TrainState
from segtrain.fit.validation import Scores
from segtrain.models.network import SegmentationNetwork
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network
from segtrain.page.page import write_page


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """What a training has come to: its last scores and the best mIoU, if it was validated."""

    steps: int
    seconds: float
    scores: Scores | None
    best: float | None


def fit(config: FitConfig, on_report: Callable[[Advance], None] = lambda _: None) -> FitSummary:
    """Train a network in the folder `config.out`, or go on with the training that was begun there.

    On a CPU, with the same number of threads and workers, an interrupted and resumed training gives the weights of
    an uninterrupted one, bit for bit. The samples of a step never depend on workers.

    Raises: DatasetError, StoreError, DataError, CheckpointError, MotionError, JobError; RunFolderError, where settings
    or data have changed since it was begun, or something cannot be written; FitError, where settings don't fit the data
    or the machine, or the loss is not finite. What was saved before stays. RunError, at the end: a damaged log.
    """
    if config.workers == 1 and config.address is None:
        open_runtime(config.device, config.dtype)  # says what is missing
        _require_several_images(config, is_synchronised=False)
    training, held_out = open_sources(config)
    open_objective(config, training.classes.train_names)
    settings = described(config, training, held_out)
    config = _with_absolute_paths(config)
    with locked(config.out):
        begin(config.out, settings, _versions())
        index = training.index(config.class_uniform_tile)
        job = Job(config=config, settings=settings, training=training, held_out=held_out, index=index)
        job.epoch(0)  # says whether there are samples
        summary = launch(
            partial(_train, job),
            num_workers=config.workers,
            address=config.address,
            gpus_per_worker=GPUS_PER_WORKER[config.device],
            on_report=on_report,
        )
        write_page(config.out)
        return summary


def _with_absolute_paths(config: FitConfig) -> FitConfig:
    """Those that members of a crew open, which may have another working directory."""
    paths = {name: getattr(config, name) for name in ("out", "weights", "trunk_weights")}
    return replace(config, **{name: path.resolve() for name, path in paths.items() if path is not None})


def _versions() -> dict[str, str]:
    return versions(torch, np, cv2, h5py)


def _require_several_images(config: FitConfig, *, is_synchronised: bool) -> None:
    """A batch norm that learns needs several images at a time. Raises FitError."""
    at_a_time = config.batch_size // (config.workers * config.accumulate)
    if at_a_time == 1 and not config.freeze_batch_norm and not is_synchronised:
        raise FitError(
            f"a batch of {config.batch_size} in {config.workers * config.accumulate} parts gives 1 image at a time, "
            "from which batch norms cannot learn; raise --batch-size, lower --accumulate, or add --freeze-batch-norm"
        )


def new_network(config: FitConfig, num_classes: int) -> SegmentationNetwork:
    """The network to begin with. Raises CheckpointError, ParameterError for weights that do not fit."""
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


def _train(job: Job, member: Member) -> FitSummary:
    """One member's part: it steps and validates with all others; the first of them writes and reports."""
    config, classes = job.config, job.training.classes
    runtime = Runtime(device=member.device, dtype=getattr(torch, config.dtype), compile=config.compile)
    is_synchronised = member.num_members > 1 and runtime.device.type == "cuda" and not config.freeze_batch_norm
    _require_several_images(config, is_synchronised=is_synchronised)
    network = new_network(config, len(classes.train_names))
    if is_synchronised:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    state = TrainState(network, config, runtime)
    saved = load_checkpoint(config.out)
    if saved is not None:
        state.restore(saved)
    started = time.monotonic()
    recorder = Recorder(job, member, runtime, state, saved)
    try:
        _run(job, member, state, runtime, recorder)
    finally:
        recorder.close()
    return FitSummary(
        steps=state.step,
        seconds=time.monotonic() - started,
        scores=recorder.scores,
        best=recorder.best,
    )


def steps_per_epoch(epoch: Epoch, batch_size: int) -> int:
    """Whole batches: the last is filled up with the epoch's first items."""
    return -(-len(epoch) // batch_size)


def _run(job: Job, member: Member, state: TrainState, runtime: Runtime, recorder: Recorder) -> None:
    config = job.config
    per_epoch = steps_per_epoch(job.epoch(0), config.batch_size)
    recorder.begin(config.epochs * per_epoch)
    network: Any = runtime.compiled(state.network)
    if member.num_members > 1:
        network = DistributedDataParallel(network, broadcast_buffers=False)
    state.network.train()
    if config.freeze_batch_norm:
        for layer in state.network.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
    objective = open_objective(config, job.training.classes.train_names)
    while state.step < config.epochs * per_epoch:
        number, first = divmod(state.step, per_epoch)
        epoch = job.epoch(number)
        positions = _positions(epoch, range(first, per_epoch), config, member)
        batches = _batches(job, epoch, positions, runtime)
        for step in range(first, per_epoch):
            rate = learning_rate(config, state.step / per_epoch)
            losses = []
            for part, batch in enumerate(islice(batches, config.accumulate), start=1):
                is_last = part == config.accumulate
                with nullcontext() if is_last or member.num_members == 1 else network.no_sync():
                    with runtime.autocast():
                        logits = network(normalised(batch.image.to(runtime.device, non_blocking=True)))
                    label = batch.label.to(runtime.device, non_blocking=True)
                    loss = objective(logits, label, number) / config.accumulate
                    state.backward(loss)
                losses.append(loss.detach())
            total = torch.stack(losses).sum()
            if not state.update(rate, total):
                seen = positions[(step - first) * config.accumulate :][: config.accumulate]
                raise _not_finite(job, epoch, seen, state.step, rate, total.item())
            recorder.after_step(rate, total, is_epoch_end=step == per_epoch - 1)


def _positions(epoch: Epoch, steps: range, config: FitConfig, member: Member) -> list[list[int]]:
    """Of each part of each step, the positions in the epoch of this member's share."""
    share = config.batch_size // member.num_members
    size = share // config.accumulate
    starts = [step * config.batch_size + member.rank * share for step in steps]
    return [
        [(start + part * size + item) % len(epoch) for item in range(size)]
        for start in starts
        for part in range(config.accumulate)
    ]


def _batches(job: Job, epoch: Epoch, positions: list[list[int]], runtime: Runtime) -> Iterator[Batch]:
    config = job.config
    augmentation = Augmentation(
        crop=config.crop,
        scale=config.scale,
        flip=config.flip,
        colour=config.colour,
        blur=config.blur,
        rotation=config.rotation,
    )
    is_pinned = runtime.device.type == "cuda"
    return load_batches(
        job.training, epoch, augmentation, positions, num_workers=config.loader_workers, pinned=is_pinned
    )


def _not_finite(job: Job, epoch: Epoch, parts: list[list[int]], step: int, rate: float, loss: float) -> FitError:
    config = job.config
    keys = ", ".join(job.training.records[epoch.sample[position]].key for part in parts for position in part)
    return FitError(
        f"loss or gradient of step {step} is not finite (epoch {epoch.number + 1}, loss {loss}, "
        f"learning rate {rate:.3g}, {config.dtype}), in a batch of {keys}. The last checkpoint in {config.out} is "
        "kept; train anew with a lower --learning-rate, --clip-gradient, or another --dtype"
    )
