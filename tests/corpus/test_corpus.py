"""Inputs that once broke something: each is made here, and told what it must come to now.

What it was before: a traceback, unless a comment says otherwise.
"""

import os
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.inputs import IDS, KINDS, PIXELS
from helpers.mutations import LAUGHS, Damage, of_size

from jobs.errors import FileError, JobError
from propagate.cli.main import main
from propagate.data.images import encode_png
from propagate.errors import PropagateError
from segtrain.errors import SegtrainError

DEEP = b"[" * 3000


def put(old: bytes, new: bytes) -> Damage:
    """The last of them: in a zip file, that of the directory at its end."""
    return lambda data: new.join(data.rsplit(old, 1))


def become(new: bytes) -> Damage:
    return lambda _: new


# what it is: the kind of input, how a good one is damaged, and what is said of it
CORPUS: dict[str, tuple[str, Damage, str]] = {
    "a date that is none": (
        "class table",
        put(b"id: 0,", b"id: 2001-13-45,"),
        "not a YAML file: month must be in 1..12",
    ),
    "a table that names no file": (
        "class table",
        put(b"{id: 255", b"{id: 254"),
        "table.yaml: class table 'mine': ignore_id",
    ),
    "a deep layout": ("layout", put(b"label_ids", DEEP), "layout.yaml: not a YAML file: nested too deeply"),
    "a deep recipe": ("recipe", put(b"poly", DEEP), "recipe.yaml: not a YAML file: nested too deeply"),
    "a deep config": ("config", put(b"2", DEEP), "config.yaml: not a YAML file: nested too deeply"),
    # which took minutes, and all memory
    "aliases of aliases": ("config", put(b"2", LAUGHS), "its aliases unfold to more than 1000000 values"),
    "an alias of itself": ("layout", put(b"label_ids", b"&a [*a]"), "its aliases unfold to more than 1000000 values"),
    # which was read as another file
    "a renamed member": ("zip", put(b"a_2.png", b"a_3.png"), "train/a_3.png: cannot be read (the archive has changed"),
    # of which the first was read, where unpacking keeps the last
    "a name twice": ("zip", put(b"a_2.png", b"a_1.png"), "all.zip: holds train/a_1.png twice; extract it here"),
    "a name in Latin 1": (
        "camvid names",
        become(b"Stra\xdfe_1"),
        "Stra\\udcdfe_1.png: its name is not written in UTF-8",
    ),
    "a run on nothing": (
        "run config",
        become(b'{"settings": {"network": "x", "training": null, "validation": null}, "versions": {}}'),
        "config.json: damaged (TypeError: 'NoneType' object is not subscriptable)",
    ),
    "a deep config of a run": ("run config", become(DEEP * 30), "config.json: damaged (RecursionError"),
    # of which Pillow alone set the limit, and OpenCV another
    "a huge frame": ("png frame", of_size(70000, 70000), "70000x70000, 4900000000 pixels, expected at most 268435456"),
    "a huge flow": ("flow png", of_size(20000, 20000), "20000x20000, 400000000 pixels, expected at most 268435456"),
}


@pytest.mark.parametrize("name", CORPUS)
def test_what_once_broke_something_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    kind_name, damage, sentence = CORPUS[name]
    kind = KINDS[kind_name]
    path = tmp_path / kind.file
    kind.make(path)
    kind.read(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises((FileError, JobError, PropagateError, SegtrainError)) as caught:
        kind.read(path)
    assert sentence in str(caught.value)


def test_a_video_whose_title_is_not_in_utf_8_is_read(tmp_path: Path) -> None:
    kind = KINDS["video mp4"]
    path = tmp_path / kind.file
    kind.make(path)
    before = kind.read(path)
    path.write_bytes(path.read_bytes().replace(b"isom", b"\xff\xfe\xff\xfe", 1))
    assert kind.read(path) == before


def test_pipes_named_like_inputs_end_a_run_with_a_sentence(tmp_path: Path) -> None:
    """Which hung."""
    for folder in ("train", "trainannot"):
        (tmp_path / "root" / folder).mkdir(parents=True)
        (tmp_path / "root" / folder / "a_1.png").write_bytes(encode_png(PIXELS))
    os.mkfifo(tmp_path / "root" / "train" / "a_2.png")
    command = ["run", "--dataset", "camvid", "--root", str(tmp_path / "root"), "--out", str(tmp_path / "out")]
    command += ["--engine", "local", "--motion", "none", "--frames", "1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    os.mkfifo(tmp_path / "root" / "all.zip")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "all.zip: not a whole zip file (no regular file, but a pipe, a socket or a device)" in result.output


def test_a_pipe_named_like_a_video_ends_a_run_with_a_sentence(tmp_path: Path) -> None:
    """Which hung."""
    labels = tmp_path / "labels" / "monday"
    labels.mkdir(parents=True)
    (labels / "1.png").write_bytes(encode_png(IDS))
    (tmp_path / "layout.yaml").write_text("classes: camvid\n")
    os.mkfifo(tmp_path / "monday.mp4")
    result = CliRunner().invoke(main, ["run", "--root", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "monday.mp4: cannot be read (no regular file, but a pipe, a socket or a device)" in result.output


def test_an_archive_of_zeros_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    """Which took 636 MB."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a_1.png", bytes(30 << 20))
    with pytest.raises(FileError, match="neither PNG nor JPEG"):
        KINDS["zip"].read(tmp_path / "all.zip")
