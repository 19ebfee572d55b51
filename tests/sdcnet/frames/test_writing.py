"""Pictures to video files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sdcnet.frames.writing import film


@pytest.mark.parametrize(
    ("rate", "written"),
    [
        (25, 25),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (Fraction(2699910000, 108000007), 25),  # the mean of a variable one, too large for a file as it is
        (Fraction(1, 3600), Fraction(1, 1001)),
    ],
)
def test_a_rate_is_written_as_the_nearest_that_a_file_holds(tmp_path: Path, rate: Fraction, written: Fraction) -> None:
    with (tmp_path / "a.mp4").open("wb") as file, film(file, rate) as add:
        for number in range(3):
            add(np.zeros((16, 16, 3), np.uint8), number)
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([float(number / Fraction(written)) for number in range(3)], rel=1e-3)
