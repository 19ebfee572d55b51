"""Samples: how confidence becomes levels, and what a sample's score is."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from propagate.data.sample import Sample, quantize_confidence

MakeSample = Callable[..., Sample]


def test_confidence_is_rounded_to_the_nearest_fifteenth() -> None:
    confidence = torch.tensor([[0.0, 0.49 / 15, 0.51 / 15, 7.4 / 15, 7.6 / 15, 14.51 / 15, 1.0]])
    levels = quantize_confidence(confidence)
    assert levels.dtype == torch.uint8
    assert levels.tolist() == [[0, 0, 1, 7, 8, 15, 15]]


def test_the_score_is_the_mean_level_of_fifteen(make_sample: MakeSample) -> None:
    levels = np.zeros((70, 90), np.uint8)
    levels[:, :45] = 15
    assert make_sample(0, confidence=levels).score == 0.5
    assert make_sample(0, confidence=np.full((70, 90), 15, np.uint8)).score == 1.0
    assert make_sample(0, confidence=np.full((70, 90), 3, np.uint8)).score == pytest.approx(0.2)
