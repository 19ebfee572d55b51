"""Which frames are scored, and which true flow they get: the layouts that are known, and what is wrong in one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from propagate.synth import truth
from sdcnet.errors import FlowFileError, FrameError
from sdcnet.flow_files import read_flow, write_flow
from sdcnet.flow_truth import Target, find_targets
from sdcnet.frames import open_sequences
from sdcnet.geometry import warp_frames

SIZE = (24, 32)


def write_frame(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), level, np.uint8)).save(path)


def write_truth(path: Path, known: int = 32) -> None:
    """A flow of (1, 2), known in so many columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flow = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, *SIZE)
    write_flow(path, flow, torch.arange(SIZE[1]).expand(1, 1, *SIZE) < known)


def levels(target: Target, num_history: int) -> list[int]:
    """The grey levels of a target's history and of the target, which tell the frames."""
    numbers = (*target.history(num_history), target.index)
    return [int(target.sequence.frames(number, number + 1)[0, 0, 0, 0]) for number in numbers]


@pytest.mark.parametrize(
    ("flow", "first", "second"),
    [("7-gt.flo", "7-img0.png", "7-img1.png"), ("7_flow.flo", "7_img1.ppm", "7_img2.ppm")],
)
def test_of_a_pair_the_first_is_predicted_from_the_second(tmp_path: Path, flow: str, first: str, second: str) -> None:
    write_frame(tmp_path / first, 10)
    write_frame(tmp_path / second, 20)
    write_truth(tmp_path / flow, known=30)
    (target,) = find_targets(tmp_path)
    assert levels(target, 1) == [20, 10]
    assert levels(target, 3) == [20, 20, 20, 10]  # for want of others
    assert target.truth is not None
    found, valid, unoccluded = target.truth.read()
    assert (found[0, :, 0, 0].tolist(), int(valid.sum()), unoccluded) == ([1, 2], 24 * 30, None)


@pytest.mark.parametrize("folder", ["image_2", "colored_0"])
def test_kitti_has_two_truths(tmp_path: Path, folder: str) -> None:
    for number in (9, 10, 11, 12, 14):
        write_frame(tmp_path / folder / f"000003_{number:02d}.png", number)
    write_truth(tmp_path / "flow_occ" / "000003_10.png", known=30)
    write_truth(tmp_path / "flow_noc" / "000003_10.png", known=20)
    (target,) = find_targets(tmp_path)
    assert levels(target, 3) == [12, 12, 11, 10]  # 14 is none of its neighbours
    assert target.truth is not None
    _, valid, unoccluded = target.truth.read()
    assert unoccluded is not None
    assert (int(valid.sum()), int(unoccluded.sum())) == (24 * 30, 24 * 20)


def test_truth_of_synth_leads_to_the_frame_before(street: Path) -> None:
    targets = find_targets(street)
    assert len(targets) == 3 * 12
    target = targets[12 + 5]
    assert target.history(2) == (4, 5)
    assert (target.index, targets[12].index) == (6, 1)
    (folder,) = (street / "truth").glob("train/*")
    key = f"{folder.name}_000001_000018"
    assert target.truth is not None
    flow, valid, unoccluded = target.truth.read()
    expected, known = read_flow(truth.truth_path(folder, key, "flow_to_previous"))
    occluded = truth.read_occlusion(truth.truth_path(folder, key, "occluded_in_previous"))
    assert torch.equal(flow, expected)
    assert torch.equal(valid, known)
    assert unoccluded is not None
    assert np.array_equal(unoccluded[0, 0].numpy(), known[0, 0].numpy() & ~occluded)


def test_truth_of_synth_explains_its_frames(street: Path) -> None:
    target = find_targets(street)[10]
    source, frame = target.sequence.frames(target.index - 1, target.index + 1).float().split(1)
    assert target.truth is not None
    flow, _, unoccluded = target.truth.read()
    assert unoccluded is not None

    def error(flow_target_to_source: torch.Tensor) -> float:
        difference = (warp_frames(source, flow_target_to_source) - frame).abs().mean(1, keepdim=True)
        return difference[unoccluded].mean().item()

    assert error(flow) < 0.7 * min(error(torch.zeros_like(flow)), error(-flow))


def test_a_part_of_synth_has_its_truth_too(street: Path) -> None:
    (city,) = (street / "leftImg8bit_sequence" / "train").iterdir()
    targets = find_targets(city)
    assert [target.truth for target in targets] == [target.truth for target in find_targets(street)]
    assert targets[0].truth is not None


def test_other_frames_are_predicted_from_those_before_without_truth(tmp_path: Path) -> None:
    for number in (1, 2, 3, 4, 8, 9):
        write_frame(tmp_path / f"frame{number}.png", number)
    targets = find_targets(tmp_path)
    assert [levels(target, 2) for target in targets] == [[1, 1, 2], [1, 2, 3], [2, 3, 4], [8, 8, 9]]
    assert all(target.truth is None for target in targets)


def test_cityscapes_itself_has_frames_alone(data: Path) -> None:
    targets = find_targets(data / "cityscapes_clip")
    assert targets
    assert all(target.truth is None for target in targets)
    assert len(targets) == sum(len(s) - 1 for s in open_sequences([data / "cityscapes_clip" / "leftImg8bit_sequence"]))


@pytest.mark.parametrize(
    ("flow", "frame", "message"),
    [
        ("7-gt.flo", "7-img0.png", r"7-gt\.flo: is the flow between two frames, of which .+7-img1\.png is not there"),
        ("7-gt.flo", "7-img1.png", r"7-gt\.flo: is the flow between two frames, of which .+7-img0\.png is not there"),
        (
            "flow_occ/0_10.png",
            "image_2/0_10.png",
            r"0_10\.png: is the flow .+ of which .+image_2/0_11\.png is not there",
        ),
        ("flow_occ/0_10.png", "elsewhere/0_10.png", r"of which .+image_2/0_10\.png is not there"),
        ("flow_occ/ten.png", "image_2/ten.png", r"ten\.png: names no frame, expected a name as 000000_10\.png"),
        (
            "7.flo",
            "7-img0.png",
            r"7\.flo: names no pair of frames, expected a name that ends in -gt\.flo or _flow\.flo",
        ),
    ],
)
def test_truth_without_its_frames_is_refused(tmp_path: Path, flow: str, frame: str, message: str) -> None:
    write_truth(tmp_path / flow)
    write_frame(tmp_path / frame, 1)
    with pytest.raises(FlowFileError, match=message):
        find_targets(tmp_path)


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="neither images nor videos"):
        find_targets(tmp_path)
    with pytest.raises(FrameError, match="does not exist"):
        find_targets(tmp_path / "absent")


def test_occlusion_of_another_kind_or_size_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "truth" / "train"
    for number in (1, 2):
        write_frame(tmp_path / "leftImg8bit_sequence" / "train" / f"a_0_{number}_leftImg8bit.png", number)
    write_truth(folder / "a_0_2_flow_to_previous.png")
    occlusion = folder / "a_0_2_occluded_in_previous.png"
    ((_, read),) = [(t, t.truth.read) for t in find_targets(tmp_path) if t.truth is not None]
    with pytest.raises(FlowFileError, match=rf"^{occlusion}: cannot be read \(No such file or directory\)"):
        read()
    write_frame(occlusion, 1)
    with pytest.raises(FlowFileError, match=rf"^{occlusion}: found uint8 of shape \[24, 32, 3\], expected a mask"):
        read()
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(occlusion)
    with pytest.raises(FlowFileError, match="its flow and its occlusion are of different sizes, 24x32 and 5x6"):
        read()
    occlusion.write_bytes(b"")
    with pytest.raises(FlowFileError, match="found no image, expected a mask"):
        read()
