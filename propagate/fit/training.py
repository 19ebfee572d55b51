"""Training of a corrector: a data set with labels to a file of weights, resumed exactly where it was interrupted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jobs.console.progress import Advance
from jobs.errors import FitError
from jobs.training.loop import train
from jobs.training.run_folder import begin, locked
from propagate.carry.corrector import cell_for
from propagate.carry.paths import path_of
from propagate.data.clip import Label
from propagate.datasets.registry import open_dataset
from propagate.fit.config import FitConfig
from propagate.fit.examples import Example, ExampleMaker, wanted_examples, windows
from propagate.fit.task import CORRECTOR, Job, library_versions
from propagate.fit.validation import CorrectionScores
from propagate.scoring.truth import truth_directory
from sdcnet.motion.registry import open_estimator

HELD_OUT = 8  # of so many annotated frames, one is scored on,
MOST_HELD_OUT = 24  # by no more frames that labels were carried to


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """What a training has come to: the file of weights; `scores` of its last validation, if there was one."""

    weights: Path
    steps: int
    seconds: float
    scores: CorrectionScores | None


def fit_corrector(
    config: FitConfig,
    on_plan: Callable[[int], None] = lambda _frames: None,
    on_carried: Callable[[int], None] = lambda _frames: None,
    on_progress: Callable[[Advance], None] = lambda _: None,
) -> FitSummary:
    """Train a corrector in the folder `config.out`, or go on with the training that was begun there.

    on_plan hears from how many annotated frames labels are carried first, on_carried of each. On a CPU, with the same
    number of threads, an interrupted and resumed training gives the weights of an uninterrupted one, bit for bit.

    Raises: DatasetError, InputError, MotionError, JobError and its kinds: CheckpointError, ComputeError;
    RunFolderError, where settings or data have changed since it was begun, or something cannot be written; FitError,
    where there is nothing to learn from, frames are smaller than a crop, or the loss is not finite. What was saved
    before stays.
    """
    config = replace(config.found(), out=config.out.resolve())
    assert config.dataset is not None
    dataset = open_dataset(config.dataset, config.options)
    clips = dataset.clips(config.frames)
    further = truth_directory(config.truth) if config.truth is not None else None

    def labels_of(keys: Sequence[str]) -> dict[str, Label]:
        return {**dataset.labels(keys), **(further(keys) if further else {})}

    wanted = wanted_examples(clips, config.examples, config.seed)
    if not wanted:
        raise FitError(
            f"{config.options.root}: none of its {len(clips)} annotated frames has a neighbour to learn from"
        )
    window = (2 * config.crop[0], 2 * config.crop[1])
    with locked(config.out):
        begin(config.out, config.described(clips), library_versions())
        estimator = open_estimator(config.motion)
        maker = ExampleMaker(
            classes=dataset.classes,
            estimator=estimator,
            path=path_of(estimator),
            reads_vectors=config.motion.reads_vectors,
            labels_of=labels_of,
        )
        examples: list[Example] = []
        held_out: list[Example] = []
        random = np.random.default_rng(config.seed)
        on_plan(len(wanted))
        for number, each in enumerate(wanted, 1):
            made = maker(each)
            if number % HELD_OUT:
                examples += (part for whole in made for part in windows(whole, window, random))
            else:
                held_out += made[: MOST_HELD_OUT - len(held_out)]
            on_carried(1)
        _require_usable(examples, config)
        trained = train(
            Job(
                config=config,
                settings=config.described(clips),
                classes=dataset.classes,
                cell=cell_for(wanted[0].clip.frames[0].size()),
                examples=examples,
                held_out=held_out,
            ),
            num_workers=1,
            address=None,
            device=config.motion.device,
            on_progress=on_progress,
        )
    scores = trained.memory["scores"]
    return FitSummary(
        weights=config.out / CORRECTOR,
        steps=trained.steps,
        seconds=trained.seconds,
        scores=CorrectionScores(**scores) if scores is not None else None,
    )


def _require_usable(examples: Sequence[Example], config: FitConfig) -> None:
    if not examples:
        raise FitError(
            f"{config.options.root}: labels could be carried to none of its frames; see what was left out above"
        )
    for example in examples:
        if example.truth.shape[0] < config.crop[0] or example.truth.shape[1] < config.crop[1]:
            found, wanted = ("{}x{}".format(*size) for size in (tuple(example.truth.shape), config.crop))
            raise FitError(f"frames of {found} are smaller than the crop of {wanted}; lower --crop")
