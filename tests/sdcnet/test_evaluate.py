"""Scoring estimators: motion that is known exactly, histories that are too short, and files that cannot be used."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sdcnet import evaluate as evaluate_module
from sdcnet.errors import MotionError
from sdcnet.evaluate import UnusableSource, evaluate
from sdcnet.flow_files import read_flow, write_flow
from sdcnet.flow_truth import find_targets
from sdcnet.motion.estimator import MotionEstimator, Observation, Step
from sdcnet.motion.registry import MotionSettings, open_estimator

SIZE = (48, 64)
SHIFT = (3, -2)  # pixels, that what is seen moves from one frame to the next


class ConstantMotion:
    """Says that everything moved so far; remembers what it was asked."""

    refinable = False
    is_network = False
    transfers = None
    fingerprint: Mapping[str, object] = {"motion": "constant"}

    def __init__(self, motion: tuple[float, float], num_history: int = 1) -> None:
        self.num_history = num_history
        self.asked: list[list[Step]] = []
        self._flow = -torch.tensor(motion, dtype=torch.float32).view(1, 2, 1, 1)  # back to the source

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        self.asked.append(list(steps))
        for step in steps:
            yield self._flow.expand(1, 2, *observations[step.target].pixels.shape[2:])


def write_frames(folder: Path, numbers: Sequence[int]) -> None:
    """A window that slides over noise, so that what it shows moves by SHIFT from frame to frame."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    for number in numbers:
        x, y = 100 - number * SHIFT[0], 100 - number * SHIFT[1]
        Image.fromarray(noise[y : y + SIZE[0], x : x + SIZE[1]]).save(folder / f"frame{number:02d}_leftImg8bit.png")


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    """Ten frames, with the truth of the third alone; the right half of that is occluded."""
    root = tmp_path / "moving"
    write_frames(root / "leftImg8bit_sequence" / "train", range(10))
    truth = root / "truth" / "train"
    truth.mkdir(parents=True)
    flow = -torch.tensor(SHIFT, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *SIZE)
    write_flow(truth / "frame02_flow_to_previous.png", flow)
    occluded = np.zeros(SIZE, np.uint8)
    occluded[:, SIZE[1] // 2 :] = 255
    Image.fromarray(occluded).save(truth / "frame02_occluded_in_previous.png")
    return root


def test_the_right_motion_is_perfect_where_it_comes_from_inside(moving: Path) -> None:
    result = evaluate([moving], ConstantMotion(SHIFT)).to_json()
    assert (result["frames"], result["frames_with_truth"], result["repeated_history"]) == (9, 1, 0)
    assert (result["epe"], result["outliers"], result["epe_unoccluded"]) == (0, 0, 0)
    assert (result["psnr_inside"], result["l1_inside"]) == (pytest.approx(60), 0)
    assert result["share_inside"] == pytest.approx((SIZE[0] - 2) * (SIZE[1] - 3) / (SIZE[0] * SIZE[1]))
    assert result["psnr"] < 40
    assert result["ssim_inside"] > 0.99
    assert result["motion"] == {"motion": "constant"}
    assert result["failures"] == []


def test_wrong_motion_errs_by_its_distance(moving: Path) -> None:
    result = evaluate([moving], ConstantMotion((SHIFT[0] - 3, SHIFT[1] + 4))).to_json()
    assert (result["epe"], result["outliers"]) == (5, 1)
    assert (result["epe_unoccluded"], result["outliers_unoccluded"]) == (5, 1)
    assert result["psnr_inside"] < 15


class WrongAtTheRight(ConstantMotion):
    """Errs by 5 px where it is occluded."""

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for flow in super().estimate(observations, steps):
            wrong = flow.clone()
            wrong[..., SIZE[1] // 2 :] += torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
            yield wrong


def test_what_is_occluded_is_counted_apart(moving: Path) -> None:
    result = evaluate([moving], WrongAtTheRight(SHIFT)).to_json()
    assert (result["epe"], result["epe_unoccluded"]) == (2.5, 0)
    assert (result["outliers"], result["outliers_unoccluded"]) == (0.5, 0)


def test_dis_comes_nearer_than_no_motion(street: Path) -> None:
    scores = {}
    for name in ("dis", "none"):
        scores[name] = evaluate([street], open_estimator(MotionSettings(name=name)), limit=4).to_json()
    dis, none = scores["dis"], scores["none"]
    assert dis["frames"] == dis["frames_with_truth"] == 4
    assert dis["psnr"] > none["psnr"] + 2
    assert dis["ssim"] > none["ssim"]
    assert dis["epe"] < 0.7 * none["epe"]
    assert dis["epe_unoccluded"] <= dis["epe"]
    assert none["share_inside"] == 1


class TruthItself(ConstantMotion):
    """Answers with the true flow of the only target."""

    def __init__(self, flow: Path) -> None:
        super().__init__((0, 0))
        self._path = flow

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:  # noqa: ARG002
        for _ in steps:
            yield read_flow(self._path)[0]


def test_truth_of_flying_chairs_has_no_error_and_explains_the_frames(data: Path) -> None:
    chairs = data / "flying_chairs"
    result = evaluate([chairs], TruthItself(find_targets(chairs)[0].truth.flow), limit=1).to_json()  # type: ignore[union-attr]
    still = evaluate([chairs], ConstantMotion((0, 0)), limit=1).to_json()
    assert (result["epe"], result["outliers"], result["epe_unoccluded"]) == (0, 0, None)
    assert result["psnr"] > still["psnr"] + 3


def test_history_that_is_too_short_is_repeated_and_said(moving: Path) -> None:
    estimator = ConstantMotion(SHIFT, num_history=2)
    result = evaluate([moving], estimator, limit=3)
    assert estimator.asked == [[Step((0, 0), 1), Step((0, 1), 2), Step((1, 2), 3)]]
    assert result.to_json()["repeated_history"] == 1
    assert result.notes() == [
        "in place of frames that the estimator reads and that are not there, the farthest one was repeated for "
        "1 of the frames scored"
    ]
    assert evaluate([moving], ConstantMotion(SHIFT)).notes() == []


def test_steps_are_asked_for_together_and_results_do_not_depend_on_it(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = ConstantMotion((1, 1), num_history=2)
    expected = evaluate([moving], together).to_json()
    assert [len(steps) for steps in together.asked] == [8, 1]
    monkeypatch.setattr(evaluate_module, "STEPS_AT_A_TIME", 1)
    assert evaluate([moving], ConstantMotion((1, 1), num_history=2)).to_json() == expected


def test_progress_counts_every_frame(moving: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "more", range(3))
    planned: list[int] = []
    done: list[int] = []
    evaluate([moving, tmp_path / "more"], ConstantMotion(SHIFT), on_plan=planned.append, on_progress=done.append)
    assert (planned, sum(done)) == ([11], 11)


def frame_of(root: Path, number: int) -> Path:
    return root / "leftImg8bit_sequence" / "train" / f"frame{number:02d}_leftImg8bit.png"


def test_damaged_frame_fails_only_what_needs_it(moving: Path) -> None:
    path = frame_of(moving, 5)
    path.write_bytes(path.read_bytes()[:-200])
    result = evaluate([moving], ConstantMotion(SHIFT))
    scores = result.to_json()
    assert scores["frames"] == 9 - 2
    assert scores["psnr_inside"] == pytest.approx(60)
    assert [failure.path for failure in result.failures] == [str(path)]
    assert result.notes() == [f"failed: {path}: {result.failures[0].reason}"]


def test_source_without_frames_fails_alone(moving: Path, tmp_path: Path) -> None:
    result = evaluate([tmp_path / "absent", moving], ConstantMotion(SHIFT))
    assert len(result.failures) == 1
    assert result.failures[0].path == str(tmp_path / "absent")
    assert list(result.to_json()["sources"]) == [str(moving)]
    assert result.to_json()["frames"] == 9


def test_truth_of_another_size_or_damaged_fails_its_frame(moving: Path) -> None:
    path = moving / "truth" / "train" / "frame02_flow_to_previous.png"
    write_flow(path, torch.zeros(1, 2, 10, 20))
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(path.with_name("frame02_occluded_in_previous.png"))
    result = evaluate([moving], ConstantMotion(SHIFT))
    assert result.failures == [
        UnusableSource(str(path), "a flow of 10x20 for frames of 48x64. Is it the truth of these frames?")
    ]
    assert result.to_json()["frames"] == 8
    path.write_bytes(path.read_bytes()[:40])
    assert "damaged, or not whole" in evaluate([moving], ConstantMotion(SHIFT)).failures[0].reason


def test_frames_that_are_too_small_fail(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.zeros((10, 40, 3), np.uint8)).save(tmp_path / f"{number}.png")
    result = evaluate([tmp_path], ConstantMotion(SHIFT))
    assert [failure.reason for failure in result.failures] == [
        "frames of 10x40 are too small to score; each side needs 11 pixels"
    ]


class Refusing(ConstantMotion):
    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        if observations[0].pixels.shape[2:] == SIZE:
            raise MotionError("out of memory")
        return super().estimate(observations, steps)


def test_estimator_that_cannot_work_on_a_source_goes_on_with_the_next(moving: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for number in range(3):
        Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(other / f"{number}.png")
    estimator: MotionEstimator = Refusing((0, 0))
    result = evaluate([moving, other], estimator)
    assert result.failures == [UnusableSource(str(moving), "out of memory")]
    assert result.to_json()["sources"][str(moving)]["psnr"] is None
    assert result.to_json()["sources"][str(other)]["frames"] == 2


def test_table_has_a_row_for_each_source_and_leaves_out_what_was_not_scored(moving: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "more", range(3))
    lines = evaluate([moving, tmp_path / "more"], ConstantMotion(SHIFT)).table().splitlines()
    assert [line.split()[0] for line in lines] == ["source", str(moving), str(tmp_path / "more"), "all"]
    assert lines[0].endswith("  EPE px     Fl  EPE noc  Fl noc")
    assert lines[1].split()[-4:] == ["0.000", "0.00%", "0.000", "0.00%"]
    assert lines[2].split()[-4:] == ["-"] * 4
    (head, _) = evaluate([tmp_path / "more"], ConstantMotion(SHIFT)).table().splitlines()
    assert "EPE" not in head
