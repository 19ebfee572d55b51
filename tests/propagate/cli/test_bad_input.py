"""Bad input through the command line: one clear sentence with the path each, and the rest of the work goes on."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Cli = Callable[..., subprocess.CompletedProcess[str]]


class Root:
    """A copy of the synthetic data set, whose first snippet can be spoilt."""

    def __init__(self, root: Path) -> None:
        self.path = root
        labels = sorted(root.glob("gtFine/train/*/*_labelIds.png"))
        self.label = labels[0]
        self.city, self.snippet = labels[0].parent.name, labels[0].name[: -len("_000019_gtFine_labelIds.png")]

    def frame(self, offset: int) -> Path:
        name = f"{self.snippet}_{19 + offset:06d}_leftImg8bit.png"
        return self.path / "leftImg8bit_sequence" / "train" / self.city / name


@pytest.fixture
def root(street: Path, tmp_path: Path) -> Root:
    def near(_folder: str, names: list[str]) -> list[str]:
        return [n for n in names if n == "truth" or ("leftImg8bit.png" in n and not 15 < int(n.split("_")[2]) < 24)]

    return Root(Path(shutil.copytree(street, tmp_path / "root", ignore=near)))


def run(cli: Cli, root: Root, *args: object) -> tuple[dict[str, Any], str]:
    out = root.path.parent / "out"
    process = cli(
        "run",
        "--root",
        root.path,
        "--out",
        out,
        "--frames",
        3,
        "--motion",
        "none",
        "--engine",
        "local",
        "--json",
        *args,
    )
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stderr
    return json.loads(process.stdout), process.stderr


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("this is no picture")


def sixteen_bit(path: Path) -> None:
    Image.fromarray(np.zeros((128, 256), np.uint16)).save(path)


def grey(path: Path) -> None:
    Image.open(path).convert("L").save(path)


def smaller(path: Path) -> None:
    Image.open(path).resize((200, 100), Image.Resampling.NEAREST).save(path)


def unknown_id(path: Path) -> None:
    label = np.array(Image.open(path))
    label[3:5, 7] = 77
    Image.fromarray(label).save(path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (truncate, "truncated"),
        (empty, "empty"),
        (text, "neither PNG nor JPEG"),
        (sixteen_bit, "16-bit"),
        (grey, "grey"),
        (smaller, "frame of 100x200, its annotated frame has 128x256"),
        (Path.unlink, "missing"),
    ],
)
def test_a_bad_neighbour_ends_its_clip_in_that_direction(
    cli: Cli, root: Root, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(root.frame(2))
    summary, _ = run(cli, root)
    assert summary["samples"] == 3 * 7 - 2
    [failure] = summary["failures"]
    assert (failure["clip"], failure["offset"]) == (f"{root.snippet}_000019", 2)
    assert sentence in failure["reason"]
    assert f"{root.snippet}_000021" in failure["reason"]
    info = json.loads(cli("info", root.path.parent / "out", "--json").stdout)
    assert info["offsets"] == {"-3": 3, "-2": 3, "-1": 3, "0": 3, "1": 3, "2": 2, "3": 2}
    assert info["failures"] == [failure]


@pytest.mark.parametrize("spoil", [truncate, empty, text, sixteen_bit, grey])
def test_a_bad_annotated_frame_fails_its_clip_alone(cli: Cli, root: Root, spoil: Callable[[Path], None]) -> None:
    spoil(root.frame(0))
    summary, _ = run(cli, root)
    assert summary["samples"] == 2 * 7
    [failure] = summary["failures"]
    assert failure["offset"] == 0
    assert str(root.frame(0)) in failure["reason"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (truncate, "truncated"),
        (empty, "empty"),
        (text, "neither PNG nor JPEG"),
        (sixteen_bit, "16-bit"),
        (smaller, "label map of 100x200 for a frame of 128x256"),
        (unknown_id, "77"),
    ],
)
def test_a_bad_label_map_fails_its_clip_alone(
    cli: Cli, root: Root, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(root.label)
    summary, _ = run(cli, root)
    assert summary["samples"] == 2 * 7
    [failure] = summary["failures"]
    assert failure["offset"] == 0
    assert str(root.label) in failure["reason"]
    assert sentence in failure["reason"]


def test_a_label_without_its_frame_is_a_failure_too(cli: Cli, root: Root) -> None:
    root.frame(0).unlink()
    summary, _ = run(cli, root)
    assert summary["samples"] == 2 * 7
    [failure] = summary["failures"]
    assert (failure["clip"], failure["offset"]) == (f"{root.snippet}_000019", 0)


@pytest.mark.parametrize("spoilt", ["frame", "label"])
def test_mended_inputs_are_taken_up_by_retry_failed(cli: Cli, root: Root, spoilt: str) -> None:
    path = root.frame(0) if spoilt == "frame" else root.label
    good = path.read_bytes()
    empty(path)
    run(cli, root)
    path.write_bytes(good)
    out = root.path.parent / "out"
    args = ("run", "--root", root.path, "--out", out, "--frames", 3, "--motion", "none", "--engine", "local")
    still = cli(*args)
    assert still.returncode == 1
    assert "run again with --retry-failed" in still.stderr
    mended = cli(*args, "--retry-failed")
    assert mended.returncode == 0, mended.stderr
    info = json.loads(cli("info", out, "--json").stdout)
    assert (info["samples"], info["failures"]) == (21, [])
    assert cli("verify", out).returncode == 0
    assert cli(*args).returncode == 0


def with_classes(root: Root, *ids: int) -> tuple[object, ...]:
    """A run on the data set as folders of a class table of one's own, which has these label ids."""
    train_ids = {0: 255} | {label_id: train_id for train_id, label_id in enumerate(ids)}
    classes = [{"id": i, "name": f"class {i}", "train_id": t, "color": [i, i, i]} for i, t in train_ids.items()]
    layout = {
        "frames": "leftImg8bit_sequence/{split}/*/{sequence}_{frame}_leftImg8bit.png",
        "labels": "gtFine/{split}/*/{sequence}_{frame}_gtFine_labelIds.png",
        "classes": {"name": "mine", "ignore_id": 0, "classes": classes},
    }
    path = root.path.parent / "layout.yaml"
    path.write_text(json.dumps(layout))
    out = root.path.parent / "out"
    of_folders = ("run", "--root", root.path, "--dataset", "folder", "--layout", path, "--out", out)
    return (*of_folders, "--frames", 3, "--motion", "none", "--engine", "local", "--clips-per-shard", 1)


def test_a_class_table_is_mended_by_what_the_failures_advise(cli: Cli, root: Root) -> None:
    known = sorted({int(i) for path in root.path.glob("gtFine/*/*/*.png") for i in np.unique(Image.open(path))} - {0})
    unknown_id(root.label)
    process = cli(*with_classes(root, 1))
    assert process.returncode == 1
    assert process.stderr.endswith("3 failures; mend the inputs, then run again with --retry-failed\n")
    process = cli(*with_classes(root, *known), "--retry-failed")  # of the former table there is nothing
    assert process.returncode == 1
    assert "1 failures; mend the inputs, then run again with --retry-failed; " in process.stderr
    assert "; a mended class table takes --overwrite" in process.stderr
    mended = with_classes(root, *known, 77)
    assert "class table: 'mine' in the store differs" in cli(*mended, "--retry-failed").stderr
    process = cli(*mended, "--overwrite")
    assert process.returncode == 0, process.stderr
    assert json.loads(cli("info", root.path.parent / "out", "--json").stdout)["samples"] == 21


def test_other_inputs_than_the_store_was_begun_with_are_refused(cli: Cli, root: Root) -> None:
    out = root.path.parent / "out"
    args = ("run", "--root", root.path, "--out", out, "--frames", 3, "--motion", "none", "--engine", "local")
    assert cli(*args).returncode == 0
    grey(root.frame(1))
    process = cli(*args)
    assert process.returncode == 1
    assert f"inputs of 1 clips, first {root.snippet}_000019: files were added, removed or changed" in process.stderr
    retried = cli(*args, "--retry-failed")
    assert retried.returncode == 1
    assert f"failed: {root.snippet}_000019, offset +1: {root.frame(1)}: " in retried.stderr
    assert json.loads(cli("info", out, "--json").stdout)["offsets"]["1"] == 2
    assert cli("verify", out).returncode == 0


def test_a_clip_that_has_another_size_now_fails_and_no_other(cli: Cli, root: Root) -> None:
    out = root.path.parent / "out"
    args = ("run", "--root", root.path, "--out", out, "--frames", 1, "--motion", "none", "--engine", "local")
    assert cli(*args).returncode == 0
    for path in (root.frame(0), root.label):
        with Image.open(path) as image:
            image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(path)
    retried = cli(*args, "--retry-failed")
    assert retried.returncode == 1
    assert "now of 256x512, in a shard of 128x256: --overwrite plans anew" in retried.stderr
    assert json.loads(cli("info", out, "--json").stdout)["samples"] == 2 * 3
    assert cli("verify", out).returncode == 0


def test_a_store_without_a_shard_binds_nobody(cli: Cli, root: Root) -> None:
    out = root.path.parent / "out"
    args = ("run", "--root", root.path, "--out", out, "--motion", "none")
    assert cli(*args, "--address", "127.0.0.1:9").returncode == 1
    assert cli(*args, "--engine", "local", "--frames", 2).returncode == 0


def test_a_first_run_in_which_all_fails_does_not_claim_to_be_done(cli: Cli, root: Root) -> None:
    for label in root.path.glob("gtFine/train/*/*_labelIds.png"):
        empty(label)
    process = cli("run", "--root", root.path, "--out", root.path.parent / "out", "--engine", "local")
    assert process.returncode == 1
    assert "nothing to do" not in process.stdout
    assert "0 samples of 3 clips" in process.stdout


def test_roots_and_splits_that_are_not_there(cli: Cli, root: Root, tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    for args, sentence in (
        (("--root", tmp_path / "nowhere"), str(tmp_path / "nowhere")),
        (("--root", tmp_path / "hollow"), str(tmp_path / "hollow")),
        (("--root", root.path, "--split", "tarin"), "train"),
    ):
        process = cli("run", *args, "--out", tmp_path / "store", "--engine", "local")
        assert process.returncode == 1
        assert sentence in process.stderr
        assert len(process.stderr.splitlines()) == 1
        assert not (tmp_path / "store").exists()


def test_annotated_frames_alone_are_no_video(cli: Cli, root: Root) -> None:
    for path in root.path.glob("leftImg8bit_sequence/train/*/*"):
        if "_000019_" not in path.name:
            path.unlink()
    args = ("run", "--root", root.path, "--out", root.path.parent / "out", "--engine", "local")
    process = cli(*args)
    assert process.returncode == 1
    assert "none of its 3 annotated frames has a neighbour to propagate to" in process.stderr
    assert cli(*args, "--frames", 0).returncode == 0
