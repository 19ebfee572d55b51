"""Training of a corrector: a data set with labels to a file of weights, resumed exactly where it was interrupted."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console.progress import Advance
from jobs.errors import FitError
from jobs.training.loop import train
from jobs.training.run_folder import begin, load_checkpoint, locked, require_made
from propagate.carry.corrector import cell_for
from propagate.carry.paths import path_of
from propagate.data.clip import Label
from propagate.datasets.registry import open_dataset
from propagate.errors import DatasetError
from propagate.fit.config import FitConfig
from propagate.fit.examples import Example, ExampleMaker, Wanted, wanted_examples, windows
from propagate.fit.task import CORRECTOR, Job, library_versions
from propagate.fit.validation import CorrectionScores
from propagate.scoring.truth import truth_directory
from sdcnet.motion.registry import open_estimator

HELD_OUT = 8  # of so many annotated frames, one is scored on, and at least one,
MOST_HELD_OUT = 24  # by no more frames that labels were carried to


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """What a training has come to: the file of weights; `scores` of its last validation."""

    weights: Path
    steps: int
    seconds: float
    scores: CorrectionScores


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
    where there is nothing to learn from, or the loss is not finite. What was saved
    before stays.
    """
    config = replace(config.found(), out=config.out.resolve())
    assert config.dataset is not None
    dataset = open_dataset(config.dataset, config.options)
    clips = dataset.clips(config.frames)
    wanted = wanted_examples(clips, config.examples, config.seed)
    if len(wanted) < 2:
        raise FitError(
            f"{config.options.root}: {len(wanted)} annotated frames with neighbours, expected 2 or more: to learn from "
            "and to score on"
        )
    heights, widths = zip(*(each.clip.frames[0].size() for each in wanted), strict=True)
    config = replace(config, crop=(min(config.crop[0], *heights), min(config.crop[1], *widths)))
    keys = [frame.key for clip in clips for frame in clip.frames.values()]
    further = {} if config.truth is None else truth_directory(config.truth)(keys)
    if config.truth is not None and further.keys() <= {clip.key for clip in clips}:
        raise DatasetError(
            f"{config.truth}: no true label map of any neighbour; --truth takes a directory in which there are KEY.png "
            f"or KEY_gtFine_labelIds.png, such as {wanted[0].keys[0]}.png"
        )
    known = {**dataset.labels(keys), **further}
    settings = config.described(dataset.classes, clips, known)
    with locked(config.out):
        begin(config.out, settings, library_versions())
        saved = load_checkpoint(config.out)
        if saved is not None and saved["step"] >= config.steps:
            require_made(config.out, CORRECTOR)
            return _summary(config, saved["step"], 0, saved["scores"])
        estimator = open_estimator(config.motion)
        maker = ExampleMaker(
            classes=dataset.classes,
            estimator=estimator,
            path=path_of(estimator),
            reads_vectors=config.motion.reads_vectors,
            known=known,
        )
        on_plan(len(wanted))
        examples, held_out = _made(wanted, maker, config, on_carried)
        trained = train(
            Job(
                config=config,
                settings=settings,
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
    return _summary(config, trained.steps, trained.seconds, trained.memory["scores"])


def _made(
    wanted: Sequence[Wanted],
    maker: ExampleMaker,
    config: FitConfig,
    on_carried: Callable[[int], None],
) -> tuple[list[Example], list[Example]]:
    """Windows to learn from, and frames to score on.

    No label that teaches is of a frame that is scored on: where it would be, labels are carried out and back instead.
    Raises: FitError where either is missing.
    """
    num_held_out = min(max(1, len(wanted) // HELD_OUT), MOST_HELD_OUT)
    held, learning = _thinned(wanted[:num_held_out], config.seed), wanted[num_held_out:]
    teaching = {each.clip.key for each in learning}
    scored = {each.clip.key for each in held} | {
        key for each in held for key in each.keys if key in maker.known
    } - teaching
    held_out: list[Example] = []
    for each in held:
        held_out += replace(maker, known=_without(maker.known, teaching))(each)
        on_carried(1)
    examples: list[Example] = []
    window = (2 * config.crop[0], 2 * config.crop[1])
    for number, each in enumerate(learning):
        random = np.random.default_rng((config.seed, number))
        for example in replace(maker, known=_without(maker.known, scored))(each):
            examples += windows(example, window, random)
        on_carried(1)
    if not examples or not held_out:
        raise FitError(
            f"{config.options.root}: no labels could be carried to {'learn from' if held_out else 'score on'}; see "
            "above what was left out, and why"
        )
    return examples, held_out


def _thinned(held: Sequence[Wanted], seed: int) -> list[Wanted]:
    """Annotated frames that are scored on, with as many neighbours each as make no more than MOST_HELD_OUT together."""
    random, most = np.random.default_rng(seed), MOST_HELD_OUT // len(held)
    drawn = [random.permutation(each.offsets)[:most].tolist() for each in held]
    return [replace(each, offsets=tuple(sorted(offsets))) for each, offsets in zip(held, drawn, strict=True)]


def _without(known: Mapping[str, Label], left_out: Collection[str]) -> dict[str, Label]:
    return {key: label for key, label in known.items() if key not in left_out}


def _summary(config: FitConfig, steps: int, seconds: float, scores: Mapping[str, Any]) -> FitSummary:
    return FitSummary(weights=config.out / CORRECTOR, steps=steps, seconds=seconds, scores=CorrectionScores(**scores))
