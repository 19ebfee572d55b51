"""Training of a scheme for video: clips to a file of what it has learnt, resumed exactly where it was interrupted."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from jobs.console.progress import Advance
from jobs.training.runtime import open_runtime
from propagate.data.clip import Clip
from propagate.datasets.registry import open_dataset
from sdcnet.motion.registry import open_estimator
from segtrain.fit.sources import described, open_sources, prove_stores
from segtrain.fit.training import FitSummary, train_labelled
from segtrain.trained import open_trained
from segtrain.video.clips import clips_with
from segtrain.video_fit.config import VideoFitConfig
from segtrain.video_fit.task import VideoJob, new_learnt


def fit_video(config: VideoFitConfig, on_progress: Callable[[Advance], None] = lambda _: None) -> FitSummary:
    """Train a scheme in the folder `config.out`, or go on with the training that was begun there.

    As `segtrain.fit.training.fit`, of which it raises the errors; and CheckpointError, ParameterError for a base that
    cannot be used, MotionError for a motion that cannot.
    """
    config = config.found()
    prove_stores(config)
    open_estimator(config.motion_settings(device=config.device, dtype=config.dtype))  # says what is missing
    training, held_out = open_sources(config, config.surroundings)
    runtime = open_runtime("cpu" if config.workers > 1 or config.address else config.device, config.dtype)
    base = open_trained(config.base, runtime, architecture=config.architecture, classes=training.classes).network
    learnt = new_learnt(config, base)
    clips = [] if held_out is None else _clips(config, max(learnt.stepper(config.interval).phases))
    settings = described(config, training, held_out)
    return train_labelled(
        config,
        settings,
        lambda placed: VideoJob(
            config=placed,
            settings=settings,
            training=training,
            surroundings=config.surroundings,
            index=training.index(config.class_uniform_tile),
            clips=clips,
        ),
        on_progress,
    )


def _clips(config: VideoFitConfig, num_before: int) -> Sequence[Clip]:
    """What is validated on. Raises: DataError where no annotated frame has so many before it."""
    assert config.data is not None
    assert config.dataset is not None
    assert config.val_split is not None
    dataset = open_dataset(config.dataset, replace(config.data, split=config.val_split))
    return clips_with(dataset, num_before, f"{config.root}, split '{config.val_split}'")
