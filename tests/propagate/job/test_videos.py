"""The main job on a video and label maps of colours: nothing is extracted, and every frame is stored as it is."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers.videos import decoded, write_drive

from propagate.data.images import decode_frame
from propagate.shards.reader import open_store


def test_a_video_with_masks_in_colours(cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_drive(root, 30, ("10.png", "t0.8.png"))
    arguments = ("run", "--dataset", "video", "--root", root, "--out", out, "--frames", 2, "--engine", "local")
    process = cli(*arguments, "--json")
    assert process.returncode == 0, process.stderr
    summary = json.loads(process.stdout)
    assert (summary["clips"], summary["samples"], summary["failures"]) == (2, 10, [])
    expected, before = decoded(root / "drive.mp4"), {path.name for path in root.rglob("*")}
    for sample in open_store(out).samples():
        number = int(sample.key.removeprefix("drive_"))
        assert number - sample.offset in (10, 20)
        assert isinstance(sample.image, bytes)
        np.testing.assert_array_equal(decode_frame(sample.image, sample.key), expected[number])
        # the texture moves to the left by a pixel a frame, and its labels with it
        assert np.count_nonzero(sample.label[24] == 0) == 32 - sample.offset
    assert {path.name for path in root.rglob("*")} == before
    assert "nothing to do" in cli(*arguments).stdout
    (root / "drive.mp4").write_bytes((root / "drive.mp4").read_bytes() + b"\0")
    assert "the inputs of" in (again := cli(*arguments)).stderr, again.stderr
