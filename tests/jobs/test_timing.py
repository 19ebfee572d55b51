"""How long things took, counted without keeping each."""

import math
import sys

import numpy as np
import pytest

from jobs.timing import Durations


def test_percentiles_are_within_a_hundredth() -> None:
    seconds = np.random.default_rng(0).lognormal(-5, 2, 5000)
    durations = Durations()
    for each in seconds:
        durations.add(float(each))
    for percent in (1, 50, 90, 99, 100):
        expected = float(np.percentile(seconds, percent, method="inverted_cdf"))
        assert durations.percentile(percent) == pytest.approx(expected, rel=0.0101)


def test_a_day_of_frames_takes_no_more_room_than_an_hour() -> None:
    durations = Durations()
    for number in range(100_000):
        durations.add(0.02 + 0.01 * math.sin(number))
    assert sys.getsizeof(durations._counts) < 10_000
    assert math.isnan(Durations().percentile(50))
    durations.add(0.0)  # of a clock that stood still
    assert durations.percentile(0.0001) < 1e-6
