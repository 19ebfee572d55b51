"""Labels carried between frames that are in memory: the main job without files, engines and stores."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from jobs.timing import Stopwatch
from propagate.carry.opened import OpenClip, OpenFrame
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.clip import Clip, Label, Resource
from propagate.data.memory_frame import MemoryFrame
from propagate.data.sample import Sample
from propagate.errors import PropagateError
from propagate.shards.manifest import Failure
from sdcnet.motion.estimator import MotionEstimator
from sdcnet.motion.registry import MotionSettings, open_estimator

IGNORED = 255


def propagate(
    frames: Sequence[np.ndarray] | np.ndarray,
    label: np.ndarray,
    *,
    annotated: int = 0,
    motion: str | MotionSettings | MotionEstimator = "dis",
    settings: SampleSettings | None = None,
    ignore_id: int = IGNORED,
) -> list[Sample]:
    """Carry the label map of one frame to all others, in the order of the frames.

        samples = propagate.propagate(frames, label, annotated=3)
        samples[0].label, samples[0].confidence    # [H,W] uint8 each; confidence in levels 0…15

    frames: consecutive ones, [T,H,W,3] uint8 RGB, or a sequence of [H,W,3]. label: [H,W] uint8 label ids of frame
    `annotated`, counted from 0. motion: an estimator's name, its settings, or an opened one, which is not opened anew
    at every call. settings: how samples are made; by default as `propagate run` does, with `image` as
    [H,W,3] uint8.
    ignore_id: for pixels below `settings.min_confidence`.

    Raises: ValueError for arrays of another form; PropagateError where motion cannot be estimated; and what
    `open_estimator` raises.
    """
    _require_form(frames, label, annotated)
    estimator = open_estimator(MotionSettings(name=motion)) if isinstance(motion, str) else motion
    if isinstance(estimator, MotionSettings):
        estimator = open_estimator(estimator)
    offsets = sorted(range(-annotated, len(frames) - annotated), key=lambda offset: (offset != 0, offset))
    clip = Clip(
        key=f"frame {annotated}",
        split="",
        group="",
        frames={offset: MemoryFrame(f"frame {annotated + offset}", frames[annotated + offset]) for offset in offsets},
        label=Label(Resource("", "label", 0)),
    )
    pictures = {offset: _picture(frame.pixels()) for offset, frame in clip.frames.items()}
    failures: list[Failure] = []
    samples = propagate_clip(
        OpenClip(clip, pictures, np.array(label), (), unreachable=False),
        ignore_id=ignore_id,
        estimator=estimator,
        path=path_of(estimator),
        sample_settings=replace(settings or SampleSettings(), images="raw"),
        watch=Stopwatch(),
        on_failure=failures.append,
    )
    found = sorted(samples, key=lambda sample: sample.offset)
    if failures:
        raise PropagateError(f"frame {annotated + failures[0].offset}: {failures[0].reason}")
    return found


def _picture(frame: np.ndarray) -> OpenFrame:
    return OpenFrame(torch.from_numpy(np.array(frame.transpose(2, 0, 1), order="C"))[None])


def _require_form(frames: Sequence[np.ndarray] | np.ndarray, label: np.ndarray, annotated: int) -> None:
    """Raise ValueError unless frames and label map are of the form that `propagate` takes."""
    if label.ndim != 2 or label.dtype != np.uint8:
        raise ValueError(f"label must be [H,W] uint8, found {list(label.shape)} {label.dtype}")
    if not 0 <= annotated < len(frames):
        raise ValueError(f"annotated must be a frame's number, within 0…{len(frames) - 1}, found {annotated}")
    for number, frame in enumerate(frames):
        if frame.shape != (*label.shape, 3) or frame.dtype != np.uint8:
            expected = [*label.shape, 3]
            raise ValueError(f"frame {number} must be {expected} uint8, found {list(frame.shape)} {frame.dtype}")
