"""Differences of frames, thresholds for a wished share, and the scores of Clockwork's tables, to stored numbers."""

import json
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.steppers import moving, network_of, seen_of, steps

from propagate.scoring.metrics import accuracy, confusion, mean_iou
from segtrain.evaluation.metrics import frequency_weighted_iou, mean_class_accuracy
from segtrain.models.network import run_stages
from segtrain.video.calibration import Difference, calibrate, largest_threshold, simulated
from segtrain.video.clocks import Adaptive
from segtrain.video.differencing import changes
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.signals import argmax_difference, classes_of, ratio_of_means, relative_difference

GOLDEN = Path(__file__).parents[2] / "golden"
SCHEDULES = json.loads((GOLDEN / "clockwork_schedules.json").read_text())

SHARES = {row["threshold"]: row["share"] for row in SCHEDULES["calibration"]}


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "clockwork_fusion.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("tag", ["a", "b"])
def test_differences_of_scores_match_the_stored_numbers(tag: str, stored: dict[str, np.ndarray]) -> None:
    scores = torch.from_numpy(stored[f"{tag}_score_pool4"]).float()
    for time in (1, 2, 3):
        now, before = scores[[time]], scores[[time - 1]]
        shares = argmax_difference(classes_of(now), classes_of(before))
        assert shares.item() == pytest.approx(stored[f"{tag}_argmax_difference"][time - 1], rel=1e-6)
        relative = relative_difference(now, before)
        assert relative.item() == pytest.approx(stored[f"{tag}_relative_difference"][time - 1], rel=1e-6)


def test_zeros_do_not_differ_and_single_elements_near_0_do_not_decide() -> None:
    zeros, ones = torch.zeros(1, 4), torch.ones(1, 4)
    assert relative_difference(zeros, zeros) == ratio_of_means(zeros, zeros) == 0
    one, other = torch.tensor([[1e-6, 0, 0, 10]]), torch.tensor([[0, 1e-6, 1e-6, 10]])
    assert relative_difference(one, other).item() == pytest.approx(1.5)
    assert ratio_of_means(one, other).item() < 1e-6
    assert ratio_of_means(zeros, ones).item() == 2


def test_scores_of_a_segmentation_match_the_stored_numbers(stored: dict[str, np.ndarray]) -> None:
    matrix = confusion(stored["metric_label"].astype(np.uint8), stored["metric_pred"].astype(np.uint8), 5)
    assert np.array_equal(matrix[:, :5], stored["metric_hist"])
    found = [accuracy(matrix), mean_class_accuracy(matrix), mean_iou(matrix), frequency_weighted_iou(matrix)]
    np.testing.assert_allclose(found, stored["metric_scores"], atol=1e-9, rtol=0)


def stored_difference() -> Difference:
    maps = torch.tensor(SCHEDULES["adaptive_class_maps"])
    return lambda one, other: float(argmax_difference(maps[one], maps[other]))


def test_shares_at_thresholds_are_the_stored_ones() -> None:
    for row in SCHEDULES["calibration"]:
        clock = Adaptive(1, max(0, row["threshold"] - 1e-12 - 1e-8))  # of float32
        fired = [is_full for is_full, _ in simulated(13, stored_difference(), clock)]
        assert sum(fired) / len(fired) == row["share"]


@pytest.mark.parametrize("share", [1.0, 0.7, 2 / 3, 0.5, 0.45, 5 / 12, 0.3, 0.25, 0.1, 1 / 12, 0.01])
def test_the_largest_threshold_of_a_share_is_found(share: float) -> None:
    allowed = [row["threshold"] for row in SCHEDULES["calibration"] if row["share"] >= share]
    found = largest_threshold([(13, stored_difference())], share)
    assert found.threshold == pytest.approx(max(allowed), abs=1e-6)
    assert (found.share, found.num_frames) == (SHARES[max(allowed)], 12)


def test_scenes_count_together_and_a_longest_wait_counts_too() -> None:
    def rising(one: int, other: int) -> float:
        return float(other - one)

    assert largest_threshold([(5, rising), (9, rising)], 0.5) == (2.0, 0.5, 12)
    assert largest_threshold([(5, rising), (9, rising)], 0.25, longest_wait=4) == (inf, 0.25, 12)
    assert 0.07 * 100 > 7
    assert largest_threshold([(101, lambda _, other: float(other < 8))], 0.07) == (1.0, 0.07, 100)
    with pytest.raises(ValueError, match="no two frames of one scene"):
        largest_threshold([(1, rising), (1, rising)], 0.5)
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="share must be above 0 and at most 1"):
            largest_threshold([(5, rising)], share)


@pytest.mark.parametrize("signal", ["feature", "pixels"])
def test_a_calibrated_clock_fires_as_often_as_wished_and_no_higher_one_does(signal: str) -> None:
    network, frames = network_of("resnet18"), seen_of([*moving(7), *moving(5, seed=1, size=(48, 80))])
    threshold, share, num_frames = calibrate(network, frames, 0.4, signal=signal)
    fired = []
    for above in (1.0, 1.001):
        settings = SchemeSettings(name="adaptive-clockwork", signal=signal, threshold=above * threshold)
        _, costs = steps(open_stepper(network, settings), frames)
        followers = [cost.fused_from for cost, seen in zip(costs, frames, strict=True) if not seen.is_new]
        fired.append(sum(late == early for early, *_, late in followers))
    assert len(followers) == num_frames == 10
    assert share == fired[0] / 10
    assert fired[0] >= 4 > fired[1]


def test_changes_from_frame_to_frame_are_those_of_the_stages() -> None:
    network, frames = network_of("pspnet18"), seen_of(moving(3))
    first, second = changes(network, frames, ("layer2", "decoder"))
    with torch.inference_mode():
        before, now = (run_stages(network.stages, seen.image) for seen in frames[1:])
    assert second.relative == {
        name: relative_difference(now[name], before[name]).item() for name in ("image", "layer2", "decoder")
    }
    share = (now["decoder"].argmax(1) != before["decoder"].argmax(1)).float().mean().item()
    assert second.classes == {"decoder": pytest.approx(share)}
    assert first != second
