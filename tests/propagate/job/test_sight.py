"""What a worker has to see before its node gets work; and what counts only once another node has tried it."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.errors import CheckpointError, UnfitNodeError
from jobs.pool.places import Share
from jobs.pool.units import Doubtful
from propagate.carry.sample_settings import SampleSettings
from propagate.data.classes import load_classes
from propagate.data.clip import Clip
from propagate.data.images import encode_png
from propagate.data.masks import with_masks
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import StoreError
from propagate.job.carrying import Carrying
from propagate.job.making import with_absolute_paths
from propagate.job.plan import make_plan
from propagate.job.sight import Sight, shown_sight
from propagate.job.worker import ShardResult, ShardTask, ShardWorker
from propagate.shards.schema import ShardPlace
from sdcnet.motion.registry import MotionSettings

SETTINGS = {"motion": "none"}


@pytest.fixture
def root(street: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to be damaged."""
    return Path(shutil.copytree(street, tmp_path / "street"))


@pytest.fixture
def clips(root: Path) -> list[Clip]:
    return list(open_dataset("cityscapes", DatasetOptions(root=root)).clips(1))


@pytest.fixture
def masked(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Clip]:
    """The clips with masks of all neighbours, in a folder that is named from where one stands."""
    (tmp_path / "masks").mkdir()
    for clip in clips:
        for frame in clip.frames.values():
            (tmp_path / "masks" / f"{frame.key}.png").write_bytes(encode_png(np.ones(frame.size(), np.uint8)))
    monkeypatch.chdir(tmp_path)
    return with_masks(clips, Path("masks"))


def worker(out: Path, sight: Sight) -> ShardWorker:
    return ShardWorker(
        Share(cores=1),
        store=out,
        classes=load_classes("cityscapes"),
        making=Carrying(motion=MotionSettings(name="none"), sample_settings=SampleSettings()),
        sight=sight,
    )


def test_a_worker_is_made_where_all_is_seen_and_the_sign_goes(clips: list[Clip], tmp_path: Path) -> None:
    with shown_sight(tmp_path, clips, SETTINGS) as sight:
        worker(tmp_path, sight)
        assert len(list(tmp_path.glob(".sign-*"))) == 1
    assert not list(tmp_path.glob(".sign-*"))


def test_a_node_without_the_store_is_unfit(clips: list[Clip], tmp_path: Path) -> None:
    with shown_sight(tmp_path, clips, SETTINGS) as sight:
        elsewhere = replace(sight, sign=tmp_path / "other" / sight.sign.name)
        with pytest.raises(UnfitNodeError, match=r"other: not the driver's store \(No such file.*mount the data set"):
            worker(tmp_path, elsewhere)
        sight.sign.write_text("another")
        with pytest.raises(UnfitNodeError, match="another sign in it"):
            worker(tmp_path, sight)


def task_of(clips: list[Clip]) -> ShardTask:
    """All of them, as one shard."""
    (plan,) = make_plan(clips, 16)
    place = ShardPlace(store_id="store", shard_index=0, num_shards=1, classes="{}")
    return ShardTask(plan=plan, place=place, clips=tuple(clips))


@pytest.mark.parametrize("part", ["gtFine", "leftImg8bit_sequence"])
def test_a_node_without_an_input_or_with_another_one_is_unfit(
    part: str, clips: list[Clip], root: Path, tmp_path: Path
) -> None:
    with shown_sight(tmp_path, clips, SETTINGS) as sight:
        for file in (root / part).rglob("*.png"):
            file.write_bytes(file.read_bytes() + b"more")
        with pytest.raises(UnfitNodeError, match=rf"{part}/.*: other bytes than the driver's"):
            worker(tmp_path, sight)
        shutil.rmtree(root / part)
        with pytest.raises(UnfitNodeError, match=rf"{part}/.*: cannot be read \(No such file"):
            worker(tmp_path, sight)


def test_a_node_without_the_frames_beside_the_annotated_one_is_unfit(clips: list[Clip], tmp_path: Path) -> None:
    with shown_sight(tmp_path, clips, SETTINGS) as sight:
        Path(clips[0].frames[1].where).unlink()
        with pytest.raises(UnfitNodeError, match="cannot be read"):
            worker(tmp_path, sight)


def test_a_node_whose_weights_are_damaged_is_unfit(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver could open them."""

    def damaged(*_: object) -> None:
        raise CheckpointError("weights.pth", "not what its checksum was made of")

    monkeypatch.setattr(Carrying, "open", damaged)
    with (
        shown_sight(tmp_path, clips, SETTINGS) as sight,
        pytest.raises(UnfitNodeError, match=r"weights\.pth: .*mount the data set"),
    ):
        worker(tmp_path, sight)


def test_a_node_with_other_weights_is_unfit(clips: list[Clip], tmp_path: Path) -> None:
    with (
        shown_sight(tmp_path, clips, {"motion": "dis"}) as sight,
        pytest.raises(UnfitNodeError, match="motion is none, and dis for the driver"),
    ):
        worker(tmp_path, sight)


def test_a_node_without_the_masks_is_unfit(masked: list[Clip], tmp_path: Path) -> None:
    with shown_sight(tmp_path, masked, SETTINGS) as sight:
        shutil.rmtree(tmp_path / "masks")
        with pytest.raises(UnfitNodeError, match=r"masks/.*: cannot be read \(No such file"):
            worker(tmp_path, sight)


def test_masks_that_this_machine_cannot_reach_are_doubtful(masked: list[Clip], tmp_path: Path) -> None:
    with shown_sight(tmp_path, masked, SETTINGS) as sight:
        make = worker(tmp_path, sight)
        Path(masked[1].masks[1].root, masked[1].masks[1].name).unlink()
        doubtful = make(task_of(masked), "a", lambda _: None)
    assert isinstance(doubtful, Doubtful)
    [failure] = doubtful.record.shard.entry.failures
    assert failure.reason.endswith(f"cannot be read (No such file or directory) on {socket.gethostname()}")


def test_another_working_folder_finds_the_same_files(
    masked: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion = MotionSettings(name="raft", raft_weights=Path("raft.pth"))
    carrying = Carrying(motion=motion, sample_settings=SampleSettings(), corrector=Path("own.safetensors"))
    sent = with_absolute_paths(carrying)
    assert (sent.motion.raft_weights, sent.corrector) == (tmp_path / "raft.pth", tmp_path / "own.safetensors")
    monkeypatch.chdir("/")
    assert masked[0].masks[1].read()


def test_a_store_that_takes_no_sign_is_said(clips: list[Clip], tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"gone: cannot be written \(No such file or directory\)"),
        shown_sight(tmp_path / "gone", clips, SETTINGS),
    ):
        pass


def test_what_this_machine_cannot_reach_is_doubtful_and_damage_is_not(clips: list[Clip], tmp_path: Path) -> None:
    task = task_of(clips)

    def write(attempt: str) -> ShardResult | Doubtful[ShardResult]:
        return make(task, attempt, lambda _: None)

    with shown_sight(tmp_path, clips, SETTINGS) as sight:
        make = worker(tmp_path, sight)
        second = Path(clips[1].frames[1].where)
        whole = second.read_bytes()
        second.write_bytes(whole[:-20])
        damaged = write("a")
        assert not isinstance(damaged, Doubtful)
        [failure] = damaged.shard.entry.failures
        assert socket.gethostname() not in failure.reason
        second.unlink()
        doubtful = write("b")
        assert isinstance(doubtful, Doubtful)
        [failure] = doubtful.record.shard.entry.failures
        assert failure.reason.endswith(f"cannot be read (No such file or directory) on {socket.gethostname()}")
        second.write_bytes(whole)
        assert not isinstance(write("c"), Doubtful), "the next unit begins anew"
