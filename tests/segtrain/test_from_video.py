"""From a video with masks in colours to a network and a video of what it sees, by the commands, nothing extracted."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.videos import decoded, write_drive

from propagate.cli.main import main as propagate
from segtrain.cli.main import main as segtrain

pytestmark = pytest.mark.slow

FIT = "--network mobilenetv2 --output-stride 16 --crop 32x32 --batch-size 2 --epochs 1 --epoch-length 4 --scale 1"


def test_four_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drives = tmp_path / "drives"
    write_drive(drives, 20, ("10.png",))
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
