"""A clip's frames may come from anywhere: what is made of them depends on their pixels alone."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import ClassVar

import numpy as np
import pytest
import torch
from memory_frames import in_memory
from torch import Tensor

from jobs.timing import Stopwatch
from jobs.training.transfers import Transfers
from propagate.carry.carried import LabelCorrection
from propagate.carry.masks import MaskVote
from propagate.carry.opened import open_clip
from propagate.carry.paths import PIXELS_AT_A_TIME, CarryingPath, DevicePath, HostPath, path_of
from propagate.carry.sample_settings import RESAMPLINGS, SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.classes import IGNORE_TRAIN_ID, load_classes
from propagate.data.clip import Clip, Resource
from propagate.data.file_frame import FileFrame
from propagate.data.images import decode_frame
from propagate.data.memory_frame import MemoryFrame
from propagate.data.sample import Sample
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import UnreachableError
from propagate.shards.manifest import Failure
from propagate.shards.schema import sample_digest
from sdcnet.errors import MotionError
from sdcnet.motion.classical import Dis, NoMotion
from sdcnet.motion.estimator import MotionEstimator, Observation, Step

CLASSES = load_classes("cityscapes")


@pytest.fixture(scope="module")
def clip(street: Path) -> Clip:
    return open_dataset("cityscapes", DatasetOptions(root=street)).clips(2)[0]


def carry(
    clip: Clip,
    settings: SampleSettings,
    estimator: MotionEstimator,
    path: CarryingPath | None = None,
    corrections: Sequence[LabelCorrection] = (),
) -> tuple[list[Sample], list[Failure]]:
    failures: list[Failure] = []
    samples = propagate_clip(
        open_clip(clip, CLASSES, Stopwatch()),
        ignore_id=CLASSES.ignore_id,
        estimator=estimator,
        path=path or path_of(estimator),
        sample_settings=settings,
        watch=Stopwatch(),
        on_failure=failures.append,
        corrections=corrections,
    )
    return list(samples), failures


def pixels_of(sample: Sample) -> np.ndarray:
    return decode_frame(sample.image, sample.key) if isinstance(sample.image, bytes) else sample.image


@pytest.mark.parametrize(
    "settings", [SampleSettings(), SampleSettings(pairing="joint", min_confidence=0.5), SampleSettings(images="raw")]
)
def test_frames_in_memory_give_the_samples_of_the_same_frames_in_files(clip: Clip, settings: SampleSettings) -> None:
    of_files, no_failures = carry(clip, settings, Dis())
    of_memory, none_either = carry(in_memory(clip), settings, Dis())
    assert (no_failures, none_either) == ([], [])
    assert [sample.offset for sample in of_memory] == [0, 1, 2, -1, -2]
    for one, other in zip(of_files, of_memory, strict=True):
        assert type(one.image) is type(other.image)
        for sample in (one, other):
            assert not isinstance(sample.image, bytes) or sample.image.startswith(b"\x89PNG")
        np.testing.assert_array_equal(pixels_of(one), pixels_of(other))
        np.testing.assert_array_equal(one.label, other.label)
        np.testing.assert_array_equal(one.confidence, other.confidence)
        assert one.key == other.key
        assert (one.source_key, one.group, one.pairing) == (other.source_key, other.group, other.pairing)


class ReadOnce(FileFrame):
    """A file that may be read once, and be decoded by who read it."""

    def pixels(self) -> np.ndarray:
        raise AssertionError("read a second time")


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_file_is_read_once_for_its_bytes_and_its_pixels(clip: Clip, num_threads: int) -> None:
    frames = {o: ReadOnce(frame.key, frame.image) for o, frame in clip.frames.items() if isinstance(frame, FileFrame)}
    assert len(frames) == 5
    opened = open_clip(replace(clip, frames=frames), CLASSES, Stopwatch(), num_threads=num_threads)
    assert opened.failures == ()
    assert list(opened.pictures) == [0, 1, 2, -1, -2]
    for offset, picture in opened.pictures.items():
        assert picture.stored("encoded") == clip.frames[offset].encoded()


class CountedFrame(MemoryFrame):
    """A frame that takes its time to decode, and counts how often that is done; it may be unreadable."""

    decoded: ClassVar[Counter[str]] = Counter()
    lock = Lock()
    unreadable: ClassVar[set[str]] = set()

    def pixels(self) -> np.ndarray:
        with self.lock:
            self.decoded[self.key] += 1
        time.sleep(0.01 * random.random())
        if self.key in self.unreadable:
            raise UnreachableError(self.where, "cannot be read")
        return super().pixels()


@pytest.mark.parametrize("bad", [(), (0,), (1,), (2, -2), (-1, 1), (2, 1, -1)])
def test_threads_find_what_one_finds_and_decode_nothing_twice(
    clip: Clip, bad: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_memory = in_memory(clip).frames
    frames = {offset: CountedFrame(frame.key, frame.pixels()) for offset, frame in of_memory.items()}
    monkeypatch.setattr(CountedFrame, "unreadable", {frames[offset].key for offset in bad})
    found = []
    for num_threads in (1, 2, 8):
        monkeypatch.setattr(CountedFrame, "decoded", Counter())
        found.append(open_clip(replace(clip, frames=frames), CLASSES, Stopwatch(), num_threads=num_threads))
        assert set(CountedFrame.decoded.values()) == {1}
    alone, *others = found
    assert len(alone.failures) == len({offset > 0 for offset in bad})
    for other in others:
        assert (other.failures, other.unreachable) == (alone.failures, alone.unreachable)
        assert list(other.pictures) == list(alone.pictures)
        for offset, picture in other.pictures.items():
            assert torch.equal(picture.pixels, alone.pictures[offset].pixels)


def test_a_failure_names_the_frame_as_it_names_itself(clip: Clip) -> None:
    frames = dict(in_memory(clip).frames)
    frames[2] = MemoryFrame(frames[2].key, np.zeros((100, 200, 3), np.uint8))
    samples, failures = carry(replace(clip, frames=frames), SampleSettings(), NoMotion())
    assert [sample.offset for sample in samples] == [0, 1, -1, -2]
    reason = f"memory: {frames[2].key}: frame of 100x200, its annotated frame has 128x256: they must have one size"
    assert failures == [Failure(clip=clip.key, offset=2, reason=reason)]


class Refusing(NoMotion):
    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        yield from super().estimate(observations, steps[:1])
        raise MotionError("out of memory")


def test_a_frame_whose_motion_cannot_be_estimated_is_named_and_ends_its_direction(clip: Clip) -> None:
    samples, failures = carry(in_memory(clip), SampleSettings(), Refusing())
    assert [sample.offset for sample in samples] == [0, 1, -1]
    assert [failure.offset for failure in failures] == [2, -2]
    assert failures[0].reason == f"memory: {clip.frames[2].key}: out of memory"


def test_masks_that_cannot_be_read_end_a_clip_at_their_frame_on_a_device_too(clip: Clip, tmp_path: Path) -> None:
    """Of frames that would be carried together."""
    (tmp_path / "bad.png").write_bytes(b"no picture")
    masks = {2: Resource(str(tmp_path), "bad.png", 10)}
    vote = MaskVote(
        {clip.frames[2].key: masks[2]}, torch.from_numpy(CLASSES.train_id_of == IGNORE_TRAIN_ID), pytest.fail
    )
    device = DevicePath(Transfers(torch.device("cpu")))
    assert device.at_a_time((128, 256)) > 1
    samples, [failure] = carry(
        replace(in_memory(clip), masks=masks), SampleSettings(), NoMotion(), device, corrections=[vote]
    )
    assert [sample.offset for sample in samples] == [0, 1, -1, -2]
    assert failure.offset == 2
    assert failure.reason.startswith(f"memory: {clip.frames[2].key}: {tmp_path}/bad.png: ")


@pytest.mark.parametrize(("pairing", "maps"), [("label", 3), ("joint", 6)])
@pytest.mark.parametrize(("at_a_time", "copies"), [(1, 4), (2, 2), (9, 2)])
def test_frames_go_up_to_a_device_once_and_what_is_made_of_them_comes_down_together(
    clip: Clip, pairing: str, maps: int, at_a_time: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers = Transfers(torch.device("cpu"))
    height, width = 128, 256
    monkeypatch.setitem(PIXELS_AT_A_TIME, "cpu", at_a_time * height * width)
    samples, _ = carry(clip, SampleSettings(pairing=pairing), NoMotion(), DevicePath(transfers))
    assert samples[0].size == (height, width)
    assert (transfers.up, transfers.down) == (5 + 1, copies)  # frames and the label map; neighbours, by direction
    assert transfers.bytes_up == (5 * 3 + 1) * height * width
    assert transfers.bytes_down == 4 * maps * height * width


@pytest.mark.parametrize("resample", RESAMPLINGS)
def test_how_many_are_carried_at_a_time_changes_nothing(
    street: Path, resample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = open_dataset("cityscapes", DatasetOptions(root=street)).clips(3)[0]
    settings = SampleSettings(pairing="joint", resample=resample, min_confidence=0.5, images="raw")
    found = []
    for at_a_time in (1, 2):
        monkeypatch.setitem(PIXELS_AT_A_TIME, "cpu", at_a_time * 128 * 256)
        found.append(carry(clip, settings, Dis(), DevicePath(Transfers(torch.device("cpu"))))[0])
    assert [sample.offset for sample in found[0]] == [0, 1, 2, 3, -1, -2, -3]
    for one, other in zip(*found, strict=True):
        assert sample_digest(one) == sample_digest(other)


class ShortOfMemory(DevicePath):
    """A device whose memory runs out at a stage, once that was called so often."""

    def __init__(self, stage: str, calls: int) -> None:
        super().__init__(Transfers(torch.device("cpu")))
        whole = getattr(self, stage)

        def attempted(*arguments: object) -> object:
            nonlocal calls
            if calls == 0:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            calls -= 1
            return whole(*arguments)

        setattr(self, stage, attempted)


@pytest.mark.parametrize(
    ("stage", "calls", "carried", "failed"),
    [
        ("to_device", 3, [], [0]),
        ("choice", 1, [0, 1], [2, -1]),  # refinement, of the second displacement
        ("grey", 2, [0, 1, 2], [-1]),  # confidence, of the second direction
        ("to_host", 0, [0], [1, -1]),
    ],
)
def test_a_memory_that_runs_out_ends_a_direction_with_a_sentence(
    clip: Clip, stage: str, calls: int, carried: list[int], failed: list[int]
) -> None:
    samples, failures = carry(clip, SampleSettings(), Dis(), ShortOfMemory(stage, calls))
    assert [sample.offset for sample in samples] == carried
    text = (
        "out of memory on cpu as labels are carried between frames of 128x256; choose fewer --workers, or a machine "
        "with more memory"
    )
    assert failures == [
        Failure(clip=clip.key, offset=offset, reason=f"{clip.frames[offset].where}: {text}") for offset in failed
    ]


def test_a_device_carries_what_the_host_does(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostPath, "candidates", DevicePath.candidates)
    of_host, _ = carry(clip, SampleSettings(pairing="joint"), Dis(), HostPath())
    of_device, _ = carry(clip, SampleSettings(pairing="joint"), Dis(), DevicePath(Transfers(torch.device("cpu"))))
    for host, device in zip(of_host, of_device, strict=True):
        assert (host.label != device.label).mean() <= 1e-4
        assert np.abs(host.confidence.astype(int) - device.confidence.astype(int)).max() <= 1
        assert (host.reason != device.reason).mean() <= 1e-3
        assert (pixels_of(host) != pixels_of(device)).mean() <= 1e-4
