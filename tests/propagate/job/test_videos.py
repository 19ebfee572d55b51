"""The main job on a video and label maps of colours: nothing is extracted, and every frame is stored as it is."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers.videos import decoded, write_video

from propagate.data.images import decode_frame, encode_png
from propagate.shards.reader import open_store

LAYOUT = """labels_hold: colors
classes:
  name: two
  ignore_id: 255
  classes:
    - {id: 0, name: left, train_id: 0, color: [200, 0, 0]}
    - {id: 1, name: right, train_id: 1, color: [0, 200, 0]}
    - {id: 255, name: void, train_id: 255, color: [0, 0, 0]}
"""


def test_a_video_with_masks_in_colours(cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "labels" / "drive").mkdir(parents=True)
    write_video(root / "drive.mp4", "libx264", {"g": "12", "bf": "3"}, 30)
    (root / "layout.yaml").write_text(LAYOUT)
    colours = np.full((48, 64, 3), (200, 0, 0), np.uint8)
    colours[:, 32:] = (0, 200, 0)
    for name in ("10.png", "t0.8.png"):
        (root / "labels" / "drive" / name).write_bytes(encode_png(colours))
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
