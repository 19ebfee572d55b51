"""Stores of chosen offsets: `propagate run --offsets`."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from propagate.carry.sample_settings import SampleSettings
from propagate.data.clip import within
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import DatasetError
from propagate.job.config import RunConfig
from propagate.job.run import make_store, run
from propagate.job.status import status_of
from propagate.shards.reader import open_store

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]


def digests(store: Path) -> dict[tuple[str, int], str]:
    return {(record.source_key, record.offset): record.digest for record in open_store(store).records()}


def test_chosen_offsets_are_those_of_the_whole_range_and_no_others(cli: Cli, street: Path, tmp_path: Path) -> None:
    about = ("run", "--root", street, "--engine", "local")
    assert cli(*about, "--out", tmp_path / "range", "--frames", 3).returncode == 0
    every = digests(tmp_path / "range")
    for offsets in ("-3,0,3", "2,-1"):
        store = tmp_path / offsets
        chosen = {int(offset) for offset in offsets.split(",")}
        done = cli(*about, "--out", store, "--offsets", offsets)
        assert done.returncode == 0, done.stderr
        assert f"{3 * len(chosen)} samples of 3 clips" in done.stdout
        assert digests(store) == {place: digest for place, digest in every.items() if place[1] in chosen}
        status = status_of(store)
        assert status.samples == status.planned_samples == 3 * len(chosen)
        summary = json.loads(cli("info", store, "--json").stdout)
        assert summary["settings"]["offsets"] == sorted(chosen)
        assert summary["shortened_clips"] == 0
        assert cli("verify", store).returncode == 0
    assert "nothing to do" in cli(*about, "--out", tmp_path / "-3,0,3", "--offsets", "3,-3,0").stdout
    other = cli(*about, "--out", tmp_path / "-3,0,3", "--offsets", "3,0")
    assert "offsets: [-3, 0, 3] in the store, [0, 3] now" in other.stderr


@pytest.mark.parametrize("pairing", ["label", "joint"])
def test_what_is_resampled_at_every_step_takes_those_on_the_way_too(street: Path, tmp_path: Path, pairing: str) -> None:
    about = {"options": DatasetOptions(root=street), "engine": "local", "limit": 1}
    made = SampleSettings(resample="recursive", pairing=pairing)
    run(RunConfig(out=tmp_path / "range", frames=3, sample_settings=made, **about))
    run(RunConfig(out=tmp_path / "chosen", sample_settings=replace(made, offsets=(-3, 2, 3)), **about))
    every = digests(tmp_path / "range")
    assert digests(tmp_path / "chosen") == {place: every[place] for place in every if place[1] in (-3, 2, 3)}


def test_frames_that_are_not_asked_for_are_not_read(street: Path) -> None:
    config = RunConfig(options=DatasetOptions(root=street), sample_settings=SampleSettings(offsets=(2,)))
    assert config.reach == range(3)
    [clip, *_] = open_dataset("cityscapes", DatasetOptions(root=street)).clips(3)
    short = within(replace(clip, missing={-4: "a hole", 4: "another"}), range(5))
    assert (list(short.frames), list(short.missing)) == ([0, 1, 2, 3], [4])


@pytest.mark.parametrize(
    ("settings", "frames", "said"),
    [
        ({"offsets": (3,), "one_sided": True}, None, "--one-sided is for labels that would be fused"),
        ({"pairing": "joint", "one_sided": True}, 2, "--one-sided is for labels that would be fused"),
        ({"resample": "recursive", "one_sided": True}, 2, "--one-sided is for labels that would be fused"),
        ({"source": False}, 0, "--frames 0 has annotated frames alone, and --no-source none"),
    ],
)
def test_what_would_do_nothing_is_refused(
    street: Path, settings: dict[str, Any], frames: int | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        RunConfig(options=DatasetOptions(root=street), frames=frames, sample_settings=SampleSettings(**settings))


def test_two_clips_of_one_key_are_refused(street: Path, tmp_path: Path) -> None:
    """As a data set of one's own may have them; a store would hold the samples of one."""
    clips = open_dataset("cityscapes", DatasetOptions(root=street)).clips(0)
    twins: Any = [clips[0], replace(clips[1], key=clips[0].key)]
    with pytest.raises(DatasetError, match=f"2 annotated frames have the key '{clips[0].key}'"):
        make_store(tmp_path / "out", Mock(), twins, Mock(), engine="local")
    assert not (tmp_path / "out").exists()


def test_offsets_that_no_annotated_frame_reaches_are_an_error(cli: Cli, street: Path, tmp_path: Path) -> None:
    """Its frames are those from 7 before an annotated one to 5 after it."""
    about = ("run", "--root", street, "--out", tmp_path / "out", "--engine", "local")
    done = cli(*about, "--offsets", "0,1,6,9")
    assert done.returncode == 1
    assert (
        "none of its 3 annotated frames has a neighbour at offset 6, 9; as far as that there are neighbours at "
        "1, 2, 3, 4, 5: give --offsets of these"
    ) in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_hole_on_the_way_to_an_offset_fails_its_clip_and_says_why(cli: Cli, street: Path, tmp_path: Path) -> None:
    root = shutil.copytree(street, tmp_path / "street")
    for path in root.glob("leftImg8bit_sequence/*/*/*_000018_leftImg8bit.png"):
        path.unlink()
    done = cli("run", "--root", root, "--out", tmp_path / "out", "--offsets", "-3,0", "--engine", "local")
    assert done.returncode == 1
    assert "this frame is missing, though" in done.stderr + done.stdout
    assert [place[1] for place in digests(tmp_path / "out")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--offsets -3,3 --frames 3", "--frames are all up to N, --offsets exactly those; give one of them"),
        ("--offsets 0", r"found [0]; --frames 0 takes annotated frames alone"),
        ("--offsets 3,3", "offsets are different ones, of neighbours and perhaps 0, as -3,0,3, found [3, 3]"),
        ("--offsets 3 --no-source", "--offsets has a 0, or none, for the annotated frames; leave out --no-source"),
        ("--offsets 1.5", "'1.5' is no list of whole numbers"),
    ],
)
def test_offsets_that_make_no_sense_are_refused(
    cli: Cli, street: Path, tmp_path: Path, options: str, message: str
) -> None:
    done = cli("run", "--root", street, "--out", tmp_path / "out", *options.split())
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
