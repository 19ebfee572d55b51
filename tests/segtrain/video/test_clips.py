"""Clips of videos, with the motion of their codec and without."""

from pathlib import Path

import torch
from helpers.steppers import RUNTIME
from helpers.videos import write_drive

from jobs.timing import Stopwatch
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from sdcnet.motion.classical import Dis
from segtrain.video.clips import clips_with, read_clip

ONE_REFERENCE = {"g": "30", "bf": "0", "refs": "1", "crf": "18"}


def test_the_codecs_motion_serves_where_it_is_asked_for(tmp_path: Path) -> None:
    write_drive(tmp_path, 14, ("8.png",), ONE_REFERENCE)
    dataset = open_dataset("video", DatasetOptions(root=tmp_path))
    (clip,) = clips_with(dataset, 3, "root")
    estimated, stored = (
        read_clip(clip, dataset.classes, Dis(), RUNTIME, Stopwatch(), with_vectors=each) for each in (False, True)
    )
    height, width = estimated.truth.shape
    assert (estimated.place, stored.place) == (3, 3)
    for one, other in zip(estimated.frames[1:], stored.frames[1:], strict=True):
        assert torch.equal(one.image, other.image)
        assert one.motion.flow_to_previous.shape == (1, 2, height, width)
        assert other.motion.flow_to_previous.shape == (1, 2, height // 8, width // 8)
        # the texture moves to the left by a pixel a frame
        median = other.motion.flow_to_previous[0, 0][other.motion.known[0, 0]].median()
        assert abs(float(median) - float(one.motion.flow_to_previous[0, 0].median())) < 0.5
