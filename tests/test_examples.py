"""Every example runs as it stands, from an empty folder, and comes to something."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path.name for path in (REPOSITORY / "examples").glob("*.py"))
Example = Callable[..., str]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """Runs an example in an empty folder, and returns what it printed."""

    def call(name: str) -> str:
        command = [sys.executable, str(REPOSITORY / "examples" / name)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_no_example_is_without_a_test() -> None:
    assert EXAMPLES == ["compare_motions.py", "one_clip.py", "three_lines.py", "train_on_shards.py"]


def test_one_clip_is_drawn_with_all_its_neighbours(example: Example, tmp_path: Path) -> None:
    printed = example("one_clip.py")
    assert re.findall(r"offset ([+-]\d)", printed) == [
        "+0",
        *(f"+{k}" for k in range(1, 6)),
        *(f"-{k}" for k in range(1, 6)),
    ]
    picture = np.asarray(Image.open(tmp_path / "clip.png"))
    assert picture.shape == (3 * 96, 11 * 192, 3)
    annotated = picture[2 * 96 :, 5 * 192 : 6 * 192]
    assert (annotated == 255).all()  # full confidence
    assert (picture[2 * 96 :] < 255).any()


def test_most_labels_are_right_between_arrays_too(example: Example) -> None:
    shares = [float(share) for share in re.findall(r"([\d.]+)% of the labels", example("three_lines.py"))]
    assert len(shares) == 11
    assert shares[5] == 100
    assert min(shares) > 80


def test_a_few_steps_in_plain_torch_lower_the_loss(example: Example) -> None:
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", example("train_on_shards.py"))]
    assert losses[-1] < 0.8 * losses[0]


def test_motion_beats_labels_that_stay_in_place(example: Example) -> None:
    lines = example("compare_motions.py").splitlines()
    means = {line.split()[0]: float(line.split()[-1]) for line in lines[1:]}
    assert list(means) == ["none", "dis"]
    assert means["dis"] > means["none"] + 0.05
