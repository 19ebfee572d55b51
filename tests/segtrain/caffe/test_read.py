"""Files of Caffe's weights, whose bytes the tests lay out themselves: both forms, and everything that is wrong."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.caffe_files import LAYER, OLD_LAYER, blob, field, layer, net, number, numbered
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training import weights as weights_module
from segtrain.caffe import read
from segtrain.caffe.read import read_caffemodel

Put = Callable[[bytes], Path]
VALUES = torch.arange(24.0).reshape(2, 3, 2, 2) / 7
LAYERS = {"conv1": [VALUES, VALUES[:, 0, 0, 0]], "conv1/bn": [VALUES[:1, :, :1, :1]] * 4, "scale": [torch.tensor(0.5)]}


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def put(content: bytes) -> Path:
        path = tmp_path / "network.caffemodel"
        path.write_bytes(content)
        return path

    return put


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_layers_are_read_by_their_names(put: Put) -> None:
    path = put(net(LAYERS))
    file = read_caffemodel(path)
    expected = {f"{name}[{index}]": each for name, held in LAYERS.items() for index, each in enumerate(held)}
    assert list(file.blobs) == list(expected)
    for name, found in file.blobs.items():
        assert_same(found, expected[name])
    assert file.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_older_layers_have_four_axes(put: Put) -> None:
    found = read_caffemodel(put(net(LAYERS, OLD_LAYER))).blobs
    assert_same(found["conv1[0]"], VALUES)
    assert_same(found["conv1[1]"], VALUES[:, 0, 0, 0].reshape(1, 1, 1, 2))


def test_values_may_come_in_pieces_and_other_fields_are_skipped(put: Put) -> None:
    diff, doubled = field(6, bytes(96)), field(9, bytes(192))
    whole = blob(VALUES, pieces=5) + diff + doubled
    content = net({"conv1": [VALUES]}) + layer("conv2", [whole]) + numbered(5, 1) + field(99, b"\xff\xff")
    assert_same(read_caffemodel(put(content)).blobs["conv2[0]"], VALUES)


def test_a_sha256_that_was_published_is_compared(put: Put) -> None:
    path = put(net(LAYERS))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_caffemodel(path, digest.upper()).digest == digest
    with pytest.raises(CheckpointError, match=f"its SHA-256 is {digest}, expected 00"):
        read_caffemodel(path, "00" * 32)


HUGE = number(2**62)
WRONG = {
    "cut short": (net(LAYERS)[:-9], "no file of Caffe's weights, or not whole (Error parsing message"),
    "no message": (b"<html>404</html>", "no file of Caffe's weights, or not whole"),
    "a huge layer": (number(LAYER << 3 | 2) + HUGE + b"x", "no file of Caffe's weights, or not whole"),
    "a huge blob": (field(LAYER, number(7 << 3 | 2) + HUGE + b"x"), "no file of Caffe's weights, or not whole"),
    "huge shapes": (layer("a", [blob(VALUES, shape=(1 << 40, 1 << 40))]), "a[0] claims 1099511627776x1099511627776"),
    "negative sides": (layer("a", [blob(VALUES, shape=(-4, -6))]), "a[0] claims the shape -4x-6"),
    "negative old sides": (
        layer("a", [numbered(1, -1) + numbered(2, -1) + numbered(3, 1) + numbered(4, 24) + blob(VALUES)[:98]]),
        "a[0] claims the shape -1x-1x1x24",
    ),
    "no sides": (layer("a", [field(5, bytes(96))]), "a[0] claims the shape 0x0x0x0"),
    "a side of 0": (layer("a", [blob(VALUES[:0], shape=(0, 3))]), "a[0] claims the shape 0x3"),
    "too many axes": (layer("a", [blob(VALUES[:1, :1, :1, :1], shape=[1] * 33)]), "a[0] claims the shape 1x1x1x1…"),
    "too few values": (layer("a", [blob(VALUES, shape=(2, 13))]), "a[0] claims 2x13 values, holds 24"),
    "half a value": (layer("a", [field(5, bytes(6)) + blob(VALUES)]), "a[0] claims 2x3x2x2 values, holds 25.5"),
    "double precision": (layer("a", [field(8, bytes(16)) + field(7, field(1, number(2)))]), "claims 2 values, holds 0"),
    "values one by one": (
        layer("a", [number(5 << 3 | 5) + bytes(4) + field(7, field(1, number(1)))]),
        "claims 1 values, holds 0",
    ),
    "no name": (
        field(LAYER, field(1, b"\x1b[31m") + field(7, blob(VALUES))),
        "a layer is called '\\x1b[31m', expected",
    ),
    "a name in Latin 1": (field(LAYER, field(1, b"stra\xdfe") + field(7, blob(VALUES))), "can't decode byte 0xdf"),
    "a layer twice": (net(LAYERS) + net({"scale": LAYERS["scale"]}, OLD_LAYER), "holds scale[0] twice"),
    "nothing": (b"", "0 bytes, expected weights"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str, put: Put) -> None:
    content, said = WRONG[name]
    path = put(content)
    with pytest.raises(CheckpointError) as caught:
        read_caffemodel(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_layers_without_end_are_not_counted_to_it(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MOST_LAYERS", 3)
    with pytest.raises(CheckpointError, match="4 layers, expected at most 3"):
        read_caffemodel(put(layer("", []) * 4))


def test_files_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.caffemodel"
    path.touch()
    os.truncate(path, 3 << 30)  # of which the disk holds nothing
    with pytest.raises(CheckpointError, match="3221225472 bytes, expected weights, at most 2 GiB"):
        read_caffemodel(path)
    os.truncate(path, 1 << 30)
    monkeypatch.setattr(weights_module.os, "sysconf", lambda _: 1 << 10)
    with pytest.raises(CheckpointError, match="1 GB of weights, but this machine's memory has 0"):
        read_caffemodel(path)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "cannot be read"), ("none", "No such file"), (".", "Is a directory")):
        with pytest.raises(CheckpointError, match=said):
            read_caffemodel(tmp_path / name)
