import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagate.shards.cells import cell_statistics, pixels_per_label


@given(height=st.integers(1, 150), width=st.integers(1, 150), seed=st.integers(0, 99), classes=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_statistics_equal_a_count_by_hand(height: int, width: int, seed: int, classes: int) -> None:
    label = np.random.default_rng(seed).integers(0, classes, (height, width), np.uint8)
    statistics = cell_statistics(label)
    columns = -(-width // 64)
    rows = zip(*vars(statistics).values(), strict=True)
    seen = 0
    for cell, label_id, count, sum_x, sum_y in rows:
        top, left = divmod(int(cell), columns)
        y, x = np.nonzero(label[top * 64 : top * 64 + 64, left * 64 : left * 64 + 64] == label_id)
        assert (len(x), x.sum() + len(x) * left * 64, y.sum() + len(y) * top * 64) == (count, sum_x, sum_y)
        seen += len(x)
    assert seen == label.size


def test_a_full_cell_and_far_coordinates_fit_their_types() -> None:
    label = np.zeros((64, 8192), np.uint8)
    statistics = cell_statistics(label)
    assert statistics.count.tolist() == [4096] * 128
    assert statistics.sum_x[-1] == 64 * sum(range(8192 - 64, 8192))


@pytest.mark.parametrize("size", [(70, 90), (64, 64)])
def test_pixels_per_label_is_a_histogram(size: tuple[int, int]) -> None:
    label = np.random.default_rng(1).integers(0, 12, size, np.uint8)
    expected = np.bincount(label.ravel(), minlength=256)
    assert (pixels_per_label(cell_statistics(label)) == expected).all()
