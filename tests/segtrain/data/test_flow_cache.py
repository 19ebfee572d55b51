"""Motion that is estimated once: what a file holds, what a folder is for, and what is said of either."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from propagate.datasets.base import DatasetOptions
from sdcnet.motion.registry import MotionSettings, open_estimator
from segtrain.data.dataset import SegmentationDataset, Window
from segtrain.data.flow_cache import METHOD, FlowCache, WithFlows, fill, seen_flow
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.surroundings import around
from segtrain.errors import DataError

PAIRS = around(1, 2)
DIS = open_estimator(MotionSettings())
USAGE = namedtuple("USAGE", "total used free")


@pytest.fixture
def frames(street: Path) -> SegmentationDataset:
    return open_labelled_frames("cityscapes", DatasetOptions(root=street), offsets=PAIRS.offsets, all_needed=False)


@pytest.fixture
def filled(frames: SegmentationDataset, tmp_path: Path) -> tuple[FlowCache, list[str]]:
    cache, said = FlowCache(tmp_path / "flows", DIS.fingerprint), list[str]()
    fill(cache, frames, PAIRS, DIS, said.append)
    return cache, said


def files(cache: FlowCache) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*.h5")}


def test_a_flow_is_what_the_estimator_finds_to_half_precision(
    frames: SegmentationDataset, filled: tuple[FlowCache, list[str]]
) -> None:
    samples = WithFlows(frames, filled[0])
    pixels = samples.read(0)
    assert frames.offsets_at(0) == (-1, 1)
    for neighbour, motion in zip(pixels.neighbours, pixels.motions, strict=True):
        image, other = (torch.from_numpy(each).permute(2, 0, 1)[None] for each in (pixels.image, neighbour))
        flow, seen = seen_flow(image, other, DIS)
        expected = flow[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(motion.flow, expected, rtol=2**-10, atol=1e-6)
        np.testing.assert_array_equal(motion.is_seen, seen[0, 0].numpy())
        assert abs(expected).max() > 1


def test_a_window_is_the_whole_sliced(frames: SegmentationDataset, filled: tuple[FlowCache, list[str]]) -> None:
    samples, window = WithFlows(frames, filled[0]), Window(5, 9, 40, 70)
    whole, part = samples.read(0, None, (1,)), samples.read(0, window, (1,))
    for one, other in zip(whole.motions[0], part.motions[0], strict=True):
        np.testing.assert_array_equal(one[window.slices], other)
    assert (samples.offsets, samples.records) == (frames.offsets, frames.records)


def test_it_says_how_much_it_writes_and_writes_it_once(
    frames: SegmentationDataset, filled: tuple[FlowCache, list[str]]
) -> None:
    cache, said = filled
    before, num_pairs = files(cache), 2 * len(frames.records)
    assert len(before) == num_pairs
    height, width = frames.size(0)
    told = num_pairs * height * width * 4.125 / 1e9
    assert said == [f"{cache.folder}: {num_pairs} of {num_pairs} flows are estimated first, {told:.3g} GB"]
    written = sum(path.stat().st_size for path in before)
    assert 0.9 * told < written / 1e9 < 1.2 * told
    lost = next(iter(before))
    lost.unlink()
    fill(cache, frames, PAIRS, DIS, said.append)
    after = files(cache)
    assert after.keys() == before.keys()
    assert [path for path in after if after[path] != before[path]] == [lost]
    assert f"1 of {num_pairs} flows" in said[1]
    fill(cache, frames, PAIRS, DIS, said.append)
    assert len(said) == 2


def test_flows_of_another_method_are_refused(filled: tuple[FlowCache, list[str]]) -> None:
    folder = filled[0].folder
    with pytest.raises(DataError, match=r"holds flows of another method \(motion: dis there, none now; opencv: .* now"):
        FlowCache(folder, {"motion": "none"})
    (folder / METHOD).write_text("{", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"its method.json is damaged, so that nobody knows which motion it holds; give another"
    ):
        FlowCache(folder, DIS.fingerprint)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"holds 'holiday.jpg' but no method.json, so it is no flow cache"):
        FlowCache(tmp_path, DIS.fingerprint)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_a_file_that_is_gone_or_damaged_is_named(
    frames: SegmentationDataset, filled: tuple[FlowCache, list[str]], damage: str
) -> None:
    cache, _ = filled
    for path in files(cache):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink() if damage == "gone" else path.write_bytes(content if damage == "flipped" else content[:900])
    with pytest.raises(DataError, match=r"\.h5: cannot be read .* remove it: it is made anew when a training begins"):
        WithFlows(frames, cache).read(0)


def test_what_the_disk_has_no_room_for_is_not_begun(
    frames: SegmentationDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FlowCache(tmp_path / "flows", DIS.fingerprint)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: USAGE(10, 10, 1000))
    with pytest.raises(DataError, match=r"flows take 0.\d+ GB, and 1e-06 GB are free; give another --flow-cache"):
        fill(cache, frames, PAIRS, DIS, print)
    assert not files(cache)


def test_flows_for_a_batch_are_those_of_each_pair(frames: SegmentationDataset) -> None:
    pixels = [frames.read(0, None, (offset,)) for offset in (-1, 1)]
    images, others = (
        torch.stack([torch.from_numpy(frame).permute(2, 0, 1) for frame in each])
        for each in ([p.image for p in pixels], [p.neighbours[0] for p in pixels])
    )
    flows, seen = seen_flow(images, others, DIS)
    for number in range(2):
        flow, is_seen = seen_flow(images[number, None], others[number, None], DIS)
        assert torch.equal(flows[number, None], flow)
        assert torch.equal(seen[number, None], is_seen)
