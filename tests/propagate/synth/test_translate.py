"""Pictures that move sideways: every frame is a window of one picture, and all that is said of it is exact."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from propagate.cli.main import main
from propagate.datasets.base import DatasetOptions
from propagate.datasets.cityscapes import Cityscapes
from propagate.synth.config import StreetConfig
from propagate.synth.truth import OTHER_FRAMES, read_occlusion, truth_path
from propagate.synth.view import Pinhole
from propagate.synth.write import write_dataset
from sdcnet.flow_files import read_flow

SPEED, SIZE = 16, (64, 128)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sideways")
    write_dataset(root, num_snippets=1, size=SIZE, length=6, speed=SPEED)
    return root


def read(root: Path, folder: str, frame: int, what: str) -> np.ndarray:
    return cv2.imread(str(root / folder / f"train/synthburg/synthburg_000000_{frame:06d}_{what}.png"), -1)


def test_what_is_seen_moves_by_the_speed_and_its_labels_with_it(root: Path) -> None:
    for folder, what in (("leftImg8bit_sequence", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        frames = [read(root, folder, frame, what) for frame in range(6)]
        assert {frame.shape[:2] for frame in frames} == {SIZE}
        for before, after in pairwise(frames):
            assert np.array_equal(after[:, :-SPEED], before[:, SPEED:])
            assert not np.array_equal(after, before)
    labels = [read(root, "truth", frame, "gtFine_labelIds") for frame in range(6)]
    assert all(
        np.array_equal(each, read(root, "gtFine", frame, "gtFine_labelIds")) for frame, each in enumerate(labels)
    )
    assert len(np.unique(labels[0])) > 4


def test_flow_and_occlusion_say_so(root: Path) -> None:
    for frame in range(6):
        for offset, name in OTHER_FRAMES.items():
            key = f"synthburg_000000_{frame:06d}"
            path = truth_path(root / "truth/train/synthburg", key, f"flow_to_{name}")
            assert path.exists() == (0 <= frame + offset < 6)
            if not path.exists():
                continue
            flow, valid = read_flow(path)
            assert valid.all()
            assert (flow[0, 0] == -offset * SPEED).all()
            assert (flow[0, 1] == 0).all()
            hidden = read_occlusion(truth_path(root / "truth/train/synthburg", key, f"occluded_in_{name}"))
            outside = slice(None, SPEED) if offset == 1 else slice(-SPEED, None)
            assert hidden[:, outside].all()
            assert hidden.sum() == SIZE[0] * SPEED


def test_every_frame_is_annotated_and_the_others_are_its_neighbours(root: Path) -> None:
    clips = Cityscapes(DatasetOptions(root=root, split="train")).clips(num_neighbours=2)
    assert [sorted(clip.frames) for clip in clips] == [
        [0, 1, 2],
        [-1, 0, 1, 2],
        [-2, -1, 0, 1, 2],
        [-2, -1, 0, 1, 2],
        [-2, -1, 0, 1],
        [-2, -1, 0],
    ]


def test_a_wider_picture_is_seen_by_the_same_lens() -> None:
    """As far from each other as in a frame are the rays of neighbouring pixels."""
    narrow, wide = Pinhole(64, 128), Pinhole(64, 208, lens=128)
    steps = [np.diff(grid.rays(np.arange(2), np.zeros(2))[0]) for grid in (narrow, wide)]
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-5)
    assert wide.rays(np.array([103.5]), np.array([0.0]))[0] == 0


def test_the_command_writes_as_many_frames_as_published(tmp_path: Path) -> None:
    options = "--scene translate --size 64x128 --snippets 1 --speed 32"
    result = CliRunner().invoke(main, ["synth", str(tmp_path / "side"), *options.split()])
    assert result.exit_code == 0, result.output
    assert "1 snippets of 6 frames" in result.stderr
    before, after = (read(tmp_path / "side", "gtFine", frame, "gtFine_labelIds") for frame in (4, 5))
    assert np.array_equal(after[:, :-32], before[:, 32:])


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speed is of the scene translate, found street; leave it out"):
        StreetConfig(dest=tmp_path, speed=16)
    with pytest.raises(ValueError, match="6 frames at 0 pixels a frame do not move"):
        write_dataset(tmp_path / "still", size=SIZE, length=6, speed=0)
