"""`propagate evaluate` through the command line: which truth, and of which data set."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from propagate.cli.main import main

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def store(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "shards"
    args = ("run", "--root", street, "--out", out, "--frames", 1, "--motion", "none", "--engine", "local", "--limit", 1)
    assert CliRunner().invoke(main, [str(arg) for arg in args]).exit_code == 0
    return out


def test_the_data_set_is_the_stores_unless_said_otherwise(cli: Cli, street: Path, store: Path) -> None:
    expected = cli("evaluate", store, "--truth", street / "truth").stdout
    assert "mIoU" in expected
    for options in ((), ("--dataset", "cityscapes", "--split", "train")):
        process = cli("evaluate", store, "--root", street, *options, "--truth", street / "truth")
        assert (process.returncode, process.stdout) == (0, expected)
    assert "has a true label map; give --truth" in cli("evaluate", store, "--root", street).stderr


def test_a_wrong_data_set_is_said_beside_a_truth_too(cli: Cli, street: Path, store: Path, tmp_path: Path) -> None:
    truth = ("--truth", street / "truth")
    for options, sentence in (
        (("--root", tmp_path / "nowhere"), f"{tmp_path / 'nowhere'}: "),
        (("--root", street, "--split", "tarin"), "no labels of a split 'tarin'; there are labels of: train"),
        (("--root", street, "--dataset", "camvid"), f"{street}: "),
    ):
        process = cli("evaluate", store, *options, *truth)
        assert (process.returncode, process.stdout) == (1, "")
        assert sentence in process.stderr


def test_another_split_than_the_stores_is_refused_beside_a_truth(
    cli: Cli, street: Path, store: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for folder in ("gtFine", "leftImg8bit_sequence"):
        for split in ("train", "val"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / split).symlink_to(street / folder / "train")
    process = cli("evaluate", store, "--root", root, "--split", "val", "--truth", street / "truth")
    assert (process.returncode, process.stdout) == (1, "")
    assert f"{store}: its split is 'train', asked for was 'val'; leave out --split, or name" in process.stderr


def test_the_data_set_is_found_where_one_stands(
    cli: Cli, street: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cli("evaluate", store, "--root", street).stderr
    monkeypatch.chdir(street)
    assert cli("evaluate", store).stderr == f"{street}: a data set of the layout cityscapes\n{expected}"
    monkeypatch.chdir(tmp_path)
    assert f"no --truth, and {tmp_path}: no data set of a known layout" in cli("evaluate", store).stderr
    (tmp_path / "trainannot").mkdir()  # as of CamVid: the layout is the store's no more
    assert "a data set of the layout camvid\n" in cli("evaluate", store).stderr
    (tmp_path / "gtFine").symlink_to(street / "gtFine")  # of the store's layout, whatever else it could be
    assert "a data set of the layout cityscapes\n" in cli("evaluate", store).stderr


def test_options_of_no_root_are_refused(cli: Cli, street: Path, store: Path) -> None:
    process = cli("evaluate", store, "--split", "val", "--truth", street / "truth")
    assert process.returncode == 2
    assert "--dataset, --split, --layout and --max-gap say how --root is read" in process.stderr
