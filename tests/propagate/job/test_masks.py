"""`propagate run --masks`, through the command line: better labels with exact masks, and what it refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.scores import matrix_of_store

from propagate.scoring.metrics import mean_iou
from propagate.shards.reader import open_store

pytestmark = pytest.mark.slow
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def masks(street: Path, tmp_path: Path) -> Path:
    """Of all frames of the street: each connected area of one label is a mask."""
    folder = tmp_path / "masks" / "deep"
    folder.mkdir(parents=True)
    for path in (street / "truth").rglob("*_gtFine_labelIds.png"):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        ids = np.zeros(labels.shape, np.uint16)
        for label in np.unique(labels):
            _, areas = cv2.connectedComponents((labels == label).astype(np.uint8))
            ids[areas > 0] = areas[areas > 0] + ids.max()
        name = path.name.removesuffix("_gtFine_labelIds.png")
        assert cv2.imwrite(str(folder / f"{name}.png"), ids)
    return folder.parent


def run(cli: Cli, street: Path, out: Path, *args: object, code: int = 0) -> dict[str, Any]:
    process = cli("run", "--root", street, "--out", out, "--frames", 2, "--engine", "local", "--json", *args)
    assert process.returncode == code, process.stderr
    return json.loads(process.stdout)


def test_exact_masks_make_labels_better_and_other_masks_are_another_store(
    cli: Cli, street: Path, masks: Path, tmp_path: Path
) -> None:
    without = run(cli, street, tmp_path / "without")
    summary = run(cli, street, tmp_path / "with", "--masks", masks)
    assert (without["masked"], summary["masked"], summary["failures"]) == (0, 12, [])
    with_masks, without_any = (mean_iou(matrix_of_store(tmp_path / out, street)) for out in ("with", "without"))
    assert with_masks > without_any + 0.02

    refused = cli("run", "--root", street, "--out", tmp_path / "with", "--frames", 2, "--engine", "local")
    assert refused.returncode == 1
    assert "masks: True in the store, False now" in refused.stderr
    key = next(iter(open_store(tmp_path / "without").records())).source_key
    number = int(key.rsplit("_", 1)[1]) + 1
    neighbour = masks / "deep" / f"{key.rsplit('_', 1)[0]}_{number:06d}.png"
    neighbour.unlink()
    refused = cli(
        *("run", "--root", street, "--out", tmp_path / "with", "--frames", 2, "--engine", "local", "--masks", masks)
    )
    assert refused.returncode == 1
    assert "the inputs of 1 clips" in refused.stderr


def test_a_bad_file_of_masks_ends_its_clip_there_and_can_be_mended(
    cli: Cli, street: Path, masks: Path, tmp_path: Path
) -> None:
    options = ("--masks", masks, "--limit", 1, "--motion", "none")
    key = run(cli, street, tmp_path / "plain", "--limit", 1, "--motion", "none") and next(
        iter(open_store(tmp_path / "plain").records())
    )
    number = int(key.source_key.rsplit("_", 1)[1]) + 1
    neighbour = masks / "deep" / f"{key.source_key.rsplit('_', 1)[0]}_{number:06d}.png"
    good = neighbour.read_bytes()
    assert cv2.imwrite(str(neighbour), np.zeros((10, 10), np.uint8))
    summary = run(cli, street, tmp_path / "out", *options, code=1)
    (failure,) = summary["failures"]
    assert failure["offset"] == 1
    assert "masks of 10x10, of a frame of" in failure["reason"]
    assert neighbour.name in failure["reason"]
    neighbour.write_bytes(good)
    assert run(cli, street, tmp_path / "out", *options, "--retry-failed")["samples"] == 5


def test_masks_that_cannot_serve_are_refused_at_once(cli: Cli, street: Path, tmp_path: Path) -> None:
    def refusal(*args: object, code: int = 1) -> str:
        process = cli("run", "--root", street, "--out", tmp_path / "out", "--engine", "local", *args)
        assert process.returncode == code
        return process.stderr

    assert "no such directory; --masks takes" in refusal("--masks", tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "frames that labels are carried to has masks there" in refusal("--masks", tmp_path / "empty")
    assert "--masks is for real frames" in refusal("--masks", tmp_path / "empty", "--pairing", "joint", code=2)
