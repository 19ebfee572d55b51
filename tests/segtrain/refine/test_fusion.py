"""One label of a carried one and a network's probabilities, and how probable it is."""

import pytest
import torch
from torch import Tensor

from segtrain.refine.fusion import MOST, PRIOR, TOGETHER, fuse

EVEN = torch.full((3,), 1 / 3)


def says(*probabilities: float) -> Tensor:
    """What a network says of one pixel: [C,1,1]."""
    return torch.tensor(probabilities)[:, None, None]


def one(value: float) -> Tensor:
    return torch.full((1, 1), value)


def carried(train_id: int) -> Tensor:
    return torch.full((1, 1), train_id, dtype=torch.uint8)


def fused(probabilities: Tensor, label: int, confidence: float, shares: Tensor = EVEN) -> tuple[int, float]:
    found = fuse(probabilities, carried(label), one(confidence), shares)
    return int(found.labels[0, 0]), float(found.confidence[0, 0])


def test_odds_of_two_classes_are_multiplied_once_what_is_common_is_taken_out() -> None:
    shares = torch.tensor([0.8, 0.2])
    label, probable = fused(says(0.4, 0.6), 1, 0.9, shares)
    odds = (0.6 / 0.4 * 0.9 / 0.1 / (0.2 / 0.8) ** PRIOR) ** TOGETHER
    assert label == 1
    assert probable == pytest.approx(odds / (1 + odds), rel=1e-5)


@pytest.mark.parametrize("shares", [EVEN, torch.tensor([0.9, 0.09, 0.01])])
@pytest.mark.parametrize("label", range(3))
def test_a_network_that_knows_nothing_but_what_is_common_changes_no_label_that_is_probably_right(
    shares: Tensor, label: int
) -> None:
    for level in range(12, 16):
        assert fused(shares[:, None, None], label, level / 15, shares)[0] == label


def test_a_network_that_is_sure_corrects_what_carrying_is_not_sure_of() -> None:
    label, probable = fused(says(0.98, 0.01, 0.01), 1, 0.4)
    assert label == 0
    assert probable > 0.8
    assert fused(says(0.8, 0.15, 0.05), 1, 1.0)[0] == 1, "nor is carrying overruled where it is the surer"


def test_both_together_are_surer_than_each_and_surer_than_in_contradiction() -> None:
    agreed, contradicted = fused(says(0.1, 0.8, 0.1), 1, 0.8), fused(says(0.8, 0.1, 0.1), 1, 0.8)
    assert agreed[1] > 0.85
    assert contradicted[1] < 0.6


def test_level_fifteen_is_no_certainty_nor_is_what_a_network_never_says_impossible() -> None:
    assert fused(says(1.0, 0.0, 0.0), 1, 1.0)[0] == 0
    assert fused(says(0.0, 1.0, 0.0), 1, 1.0) == fused(says(0.0, 1.0, 0.0), 1, MOST)
    assert fused(says(0.5, 0.5, 0.0), 2, 0.0)[1] < 1


def test_a_rare_class_is_worth_more_where_it_is_carried() -> None:
    rare = fused(says(0.45, 0.45, 0.1), 2, 0.6, torch.tensor([0.5, 0.49, 0.01]))
    common = fused(says(0.45, 0.45, 0.1), 2, 0.6, torch.tensor([0.1, 0.1, 0.8]))
    assert rare[0] == 2
    assert common[0] != 2


def test_a_pixel_without_a_label_gets_none() -> None:
    labels = torch.tensor([[255, 1]], dtype=torch.uint8)
    probabilities = says(0.98, 0.01, 0.01).expand(3, 1, 2)
    found = fuse(probabilities, labels, torch.zeros(1, 2), EVEN)
    assert found.labels.tolist() == [[255, 0]]
