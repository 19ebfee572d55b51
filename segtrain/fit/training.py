"""Training of a segmentation network: samples to weights, resumed exactly where it was interrupted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import h5py
import numpy as np
import torch

from jobs.console.progress import Advance
from jobs.errors import FitError
from jobs.training.loop import train
from jobs.training.run_folder import begin, locked, require_made, versions
from jobs.training.runtime import open_runtime
from segtrain.config import BEST, LAST, FitConfig, TrainingConfig, default_settings
from segtrain.fit.consistency import require_usable, with_flows
from segtrain.fit.labelled import LabelledJob
from segtrain.fit.objective import open_objective, surroundings_of
from segtrain.fit.sources import WEIGHTS, described, open_sources, prove_stores
from segtrain.fit.task import Job, require_several_images
from segtrain.fit.validation import ValidationScores
from segtrain.models.registry import NETWORKS, build_network
from segtrain.page.page import write_page

Config = TypeVar("Config", bound=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """What a training has come to: its last scores and the best mIoU, if it was validated."""

    steps: int
    seconds: float
    scores: ValidationScores | None
    best: float | None


def fit(config: FitConfig, on_progress: Callable[[Advance], None] = lambda _: None) -> FitSummary:
    """Train a network in the folder `config.out`, or go on with the training that was begun there.

    On a CPU, with the same number of threads and workers, an interrupted and resumed training gives the weights of
    an uninterrupted one, bit for bit. The samples of a step never depend on workers.

    Raises: DatasetError, StoreError, DataError, JobError and its kinds: CheckpointError, ComputeError; RunFolderError,
    where settings or data have changed since it was begun, or something cannot be written; FitError, where settings
    don't fit the data or the machine, or the loss is not finite. What was saved before stays. RunError, at the end: a
    damaged log.
    """
    config = config.found()
    require_output_stride(config)
    if config.workers == 1 and config.address is None:
        open_runtime(config.device, config.dtype)  # says what is missing
        with torch.device("meta"):
            network = build_network(config.network, num_classes=1, output_stride=config.output_stride)
        require_several_images(config, network, is_synchronised=False)
    prove_stores(config)
    surroundings = surroundings_of(config)
    training, held_out = open_sources(config, surroundings, (-1,) if config.is_consistent else ())
    open_objective(config, training.classes.train_names)  # says which classes there are
    if config.is_consistent:
        require_usable(config, training)
    settings = described(config, training, held_out)
    return train_labelled(
        config,
        settings,
        lambda placed: Job(
            config=placed,
            settings=settings,
            training=with_flows(placed, training, on_progress),
            surroundings=surroundings,
            held_out=held_out,
            index=training.index(config.class_uniform_tile),
        ),
        on_progress,
        write_page,
    )


def train_labelled(
    config: Config,
    settings: dict[str, Any],
    make_job: Callable[[Config], LabelledJob],
    on_progress: Callable[[Advance], None],
    at_end: Callable[[Path], object] = lambda _: None,
) -> FitSummary:
    """Train in the folder of a configuration, or go on there if it was begun with the same settings.

    settings: as `described` gives them. make_job: is given the configuration with absolute paths. at_end: is given the
    folder, while it is still held.
    """
    with locked(config.out):
        # a training that was begun before groups were recorded is known by its samples alone
        before = {**default_settings(type(config)), "validation_groups": settings["validation_groups"]}
        begin(
            config.out,
            settings,
            versions(torch, np, cv2, h5py),
            defaults=before,
            growing="epochs",
            may_grow=config.extend,
        )
        job = make_job(_with_absolute_paths(config))
        job.epoch(0)  # says whether there are samples
        trained = train(
            job, num_workers=config.workers, address=config.address, device=config.device, on_progress=on_progress
        )
        scores, best = trained.memory["scores"], trained.memory["best"]
        for name in (LAST, *([] if best is None else [BEST])):
            require_made(config.out, name)
        at_end(config.out)
    return FitSummary(
        steps=trained.steps,
        seconds=trained.seconds,
        scores=ValidationScores(**scores) if scores is not None else None,
        best=best,
    )


def require_output_stride(config: FitConfig) -> None:
    """Not every network has both. Raises: FitError."""
    strides = NETWORKS[config.network].output_strides
    if config.output_stride not in strides:
        choice = " or ".join(map(str, strides))
        raise FitError(
            f"{config.network} has an output stride of {choice}, asked for was {config.output_stride}; give "
            f"--output-stride {strides[0]}"
        )


def _with_absolute_paths(config: Config) -> Config:
    """Those that members of a crew open, which may have another working directory."""
    paths = {name: getattr(config, name, None) for name in ("out", *WEIGHTS)}
    return replace(config, **{name: path.resolve() for name, path in paths.items() if path is not None})
