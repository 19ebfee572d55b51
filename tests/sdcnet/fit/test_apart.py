"""Frames are trained on or validated on, and never both, whatever their paths are called."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.errors import FitError
from sdcnet.cli.main import main
from sdcnet.fit.config import FitConfig
from sdcnet.fit.training import fit

SETTINGS: dict[str, Any] = {"crop": (32, 48), "width": 0.05, "device": "cpu"}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    for name in ("first", "second"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((40, 64, 3), number, np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    with av.open(str(tmp_path / "drive.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    return tmp_path / "drive.avi"


def test_the_same_path_for_both_is_a_usage_error(frames: Path, tmp_path: Path) -> None:
    arguments = ["fit", str(frames), "--val", f"{frames}/", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert f"{frames} is both to train on and to validate on; give --val other frames" in result.output


def test_other_spellings_and_parts_of_the_same_are_refused(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(frames)
    monkeypatch.chdir(tmp_path)
    for other in (Path("frames"), tmp_path / "link", frames / "first" / "..", frames / "second", tmp_path):
        result = CliRunner().invoke(main, ["fit", str(frames), "--val", str(other), "--out", str(tmp_path / "run")])
        assert result.exit_code == 1, other
        number = 3 if other.name == "second" else 6
        assert f"and validated on, as are {number} of {number} files of --val; give --val other" in result.output
    assert not (tmp_path / "run").exists()


def test_a_video_is_one_of_them_too(frames: Path, video: Path, tmp_path: Path) -> None:
    video.with_name("again.avi").hardlink_to(video)
    config = FitConfig(
        sources=(frames, video), validation=(video.with_name("again.avi"),), out=tmp_path / "run", **SETTINGS
    )
    with pytest.raises(FitError, match=rf"again\.avi: is both trained on \({video}\) and validated on"):
        fit(config)
