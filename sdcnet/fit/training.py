"""Self-supervised training of a video predictor: frames to weights, resumed exactly where it was interrupted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.console.progress import Advance
from jobs.errors import FitError
from jobs.training.loop import train
from jobs.training.run_folder import begin, locked, require_made
from jobs.training.runtime import open_runtime
from sdcnet.fit.config import FitConfig
from sdcnet.fit.samples import Windows
from sdcnet.fit.task import PREDICTOR, Job, library_versions, samples_of
from sdcnet.fit.validation import PhotometricScores
from sdcnet.frames import open_sequences


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """What a training has come to; `scores` of its last validation, if there was one."""

    steps: int
    seconds: float
    scores: PhotometricScores | None


def fit(config: FitConfig, on_progress: Callable[[Advance], None] = lambda _: None) -> FitSummary:
    """Train a predictor in the folder `config.out`, or go on with the training that was begun there.

    On a CPU, with the same number of threads and workers, an interrupted and resumed training gives the weights of
    an uninterrupted one, bit for bit. The samples of a step never depend on workers.

    Raises: FrameError, MotionError, JobError and its kinds: CheckpointError, ComputeError; RunFolderError, where
    settings or data have changed since it was begun, or something cannot be written; FitError, where the loss is not
    finite, or frames are both to train on and to validate on. What was saved before stays.
    """
    if config.num_workers == 1 and config.address is None:
        open_runtime(config.device, config.dtype)  # says what is missing
    length = config.history + 1
    windows = Windows(open_sequences(config.sources), length)
    held_out = Windows(open_sequences(config.validation), length) if config.validation else None
    if held_out is not None:
        _require_apart(windows, held_out)
    settings = config.described(windows.sequences, held_out.sequences if held_out else ())
    config = replace(config, out=config.out.resolve())
    samples_of(config, windows, None)  # says whether they can be cropped
    with locked(config.out):
        begin(config.out, settings, library_versions())
        trained = train(
            Job(config=config, settings=settings, windows=windows, held_out=held_out),
            num_workers=config.num_workers,
            address=config.address,
            device=config.device,
            on_progress=on_progress,
        )
        require_made(config.out, PREDICTOR)
    scores = trained.memory["scores"]
    return FitSummary(
        steps=trained.steps, seconds=trained.seconds, scores=PhotometricScores(**scores) if scores is not None else None
    )


def _require_apart(windows: Windows, held_out: Windows) -> None:
    """Raise FitError where files are trained on and validated on, whatever their paths are called."""
    trained_on, validated_on = _files(windows), _files(held_out)
    if shared := trained_on.keys() & validated_on.keys():
        first = min((validated_on[file], trained_on[file]) for file in shared)
        also = "" if first[0] == first[1] else f" ({first[1]})"
        raise FitError(
            f"{first[0]}: is both trained on{also} and validated on, as are {len(shared)} of {len(validated_on)} files "
            "of --val; give --val other frames"
        )


def _files(windows: Windows) -> dict[tuple[int, int], Path]:
    """The files that hold frames, by what tells files apart."""
    paths = [path for sequence in windows.sequences for path in sequence.paths]
    return {(path.stat().st_dev, path.stat().st_ino): path for path in paths}
