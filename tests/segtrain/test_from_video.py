"""From a video with masks in colours to a network and a video of what it sees, by the commands, nothing extracted."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.videos import decoded, write_video

from propagate.cli.main import main as propagate
from propagate.data.images import encode_png
from segtrain.cli.main import main as segtrain

pytestmark = pytest.mark.slow

LAYOUT = """labels_hold: colors
classes:
  name: halves
  ignore_id: 255
  classes:
    - {id: 0, name: left, train_id: 0, color: [200, 0, 0]}
    - {id: 1, name: right, train_id: 1, color: [0, 200, 0]}
    - {id: 255, name: void, train_id: 255, color: [0, 0, 0]}
"""
FIT = "--network mobilenetv2 --output-stride 16 --crop 32x32 --batch-size 2 --epochs 1 --epoch-length 4 --scale 1"


def test_four_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drives = tmp_path / "drives"
    (drives / "labels" / "drive").mkdir(parents=True)
    write_video(drives / "drive.mp4", "libx264", {"g": "12", "bf": "3"}, 20)
    (drives / "layout.yaml").write_text(LAYOUT)
    colours = np.full((48, 64, 3), (200, 0, 0), np.uint8)
    colours[:, 32:] = (0, 200, 0)
    (drives / "labels" / "drive" / "10.png").write_bytes(encode_png(colours))
    monkeypatch.chdir(tmp_path)
    for program, line in (
        (propagate, "run --root drives --frames 2 --engine local"),
        (propagate, "report shards"),
        (segtrain, f"fit --shards shards --out run {FIT} --class-uniform-tile 64 --loader-workers 0 --device cpu"),
        (segtrain, "predict run/last.safetensors drives/drive.mp4 --out seen --video seen.mp4 --beside --device cpu"),
    ):
        result = CliRunner().invoke(program, line.split())
        assert result.exit_code == 0, f"{line}: {result.output}"
    assert decoded(tmp_path / "seen.mp4").shape == (20, 48, 128, 3)
    assert len(list((tmp_path / "seen" / "pred" / "drive").iterdir())) == 20
    assert sorted(path.name for path in drives.rglob("*")) == ["10.png", "drive", "drive.mp4", "labels", "layout.yaml"]
