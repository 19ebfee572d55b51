"""The samples of a store as clips of a run."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.carried_samples import CLASSES, SIZE, carried_shards, sample_of
from helpers.stores import write_store

from propagate.errors import InputError
from propagate.job.plan import make_plan
from segtrain.refine.stored import StoredClip, clips_of_store, open_finished


@pytest.fixture
def clips(tmp_path: Path) -> list[StoredClip]:
    return clips_of_store(open_finished(write_store(tmp_path / "store", carried_shards(), CLASSES)))


def test_a_frame_is_that_of_its_sample_wherever_it_is_sent_or_refused(clips: list[StoredClip]) -> None:
    frame = pickle.loads(pickle.dumps(clips))[0].samples[1]
    assert frame.sample().key == "a+1"
    with pytest.raises(InputError, match="another sample lies in its place"):
        replace(frame, row=2).sample()
    assert frame.size() == SIZE
    assert frame.encoded() == sample_of("a", 1, "propagated").image


def test_what_is_nearest_stands_in_for_an_annotated_frame(clips: list[StoredClip]) -> None:
    (clip,) = (clip for clip in clips if clip.key == "b")
    assert (sorted(clip.frames), sorted(clip.samples)) == ([-2, 0, 3], [-2, 3])
    assert clip.frames[0] is clip.samples[-2], "stands in: the first that is nearest"


def test_inputs_are_others_where_a_sample_is(clips: list[StoredClip]) -> None:
    plan = make_plan(clips, 16)
    (clip,) = (clip for clip in clips if clip.key == "b")
    frames = {**clip.frames, 3: replace(clip.samples[3], record=replace(clip.samples[3].record, digest="other"))}
    assert make_plan([replace(clip, frames=frames)], 16)[0].clips[0].inputs not in {
        each.inputs for each in plan[0].clips
    }
