"""Malformed files of weights: one sentence that names the file, no traceback, no memory taken, no code run."""

import json
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from jobs.errors import CheckpointError, ParameterError
from jobs.training.descriptions import build_without_values, parse_description
from jobs.training.weights import digest, read_weights, require_parameters

NO_PREFIXES = re.compile("^$")
FOUR = torch.ones(4)


def read(path: Path) -> Any:
    return read_weights(path, NO_PREFIXES)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({3: FOUR}, "calls a parameter 3, expected a name"),
        ({("a", 1): FOUR}, "calls a parameter a tuple, expected a name"),
        ({"a\x1b[2J": FOUR}, r"calls a parameter 'a\\x1b\[2J', expected a name"),
        ({"a": FOUR.to_sparse()}, "a is no plain tensor"),
        ({"a": torch.ones(4, device="meta")}, "a is no plain tensor"),
        ({"a": FOUR[:1].expand(2**50)}, r"4,503,600 GB of weights, but this machine's memory has"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_that_is_none_is_one_sentence(tmp_path: Path, state: dict, message: str, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"^{path}: {message}"):
        read(path)


def test_fields_that_cannot_be_told_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    fields = {"epoch": 3, "score": np.float64(0.5), 7: "seven", "half": "\ud800", "none": None}
    torch.save({**fields, "state_dict": {"a": FOUR}}, path)
    assert read(path).fields == {"epoch": 3, "score": 0.5}


def test_attributes_that_a_file_gives_its_tensors_do_not_count(tmp_path: Path) -> None:
    path, parameter = tmp_path / "weights.pth", nn.Parameter(torch.ones(4))
    parameter.numel = parameter.detach = 5  # type: ignore[method-assign, assignment]
    torch.save({"a": parameter}, path)
    assert type(read(path).tensors["a"]) is torch.Tensor
    assert read(path).tensors["a"].numel() == 4


def safetensors(header: object, values: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"a": entry([4], 0, 16), "b": entry([2], 8, 16)}),  # they overlap
        safetensors({"a": entry([5], 0, 20)}),  # outside of the file
        safetensors({"a": entry([2**40], 0, 2**42)}),
        safetensors({"a": entry([2**62, 2**62], 0, 16)}),
        safetensors({"a": entry([0, 2**40, 2**40], 0, 0)}, b""),
        safetensors({"a": entry([-4], 0, 16)}),
        safetensors({"a": entry([4], 0, 16, "F31")}),
        safetensors({"a": entry([32], 0, 16, "F4")}),
        safetensors({"a": entry([4], 0, 16), "__metadata__": {"sha256": 5}}),
        safetensors({"a": entry([4], 0, 16), "__metadata__": {"sha256": "5"}}),
        safetensors({"a": 5}),
        safetensors(b'{"a": ' + b"[" * 100_000),
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{" + bytes(16),
    ],
)
def test_a_malformed_safetensors_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{path}: damaged[^\n]+Copy or download it again$"):
        read(path)


def test_metadata_may_be_null(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors({"__metadata__": None, "a": entry([4], 0, 16)}))
    assert read(path).metadata == {}


def test_a_file_larger_than_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors({"a": entry([2**44], 0, 2**46)}, b""))
    try:
        os.truncate(path, 2**43)
    except OSError:
        pytest.skip("this file system holds no file of 8 TB, not even an empty one")
    with pytest.raises(CheckpointError, match="8,796 GB of weights, but this machine's memory has"):
        read(path)


@pytest.mark.parametrize("function", [read, digest])
def test_a_pipe_is_not_waited_for(tmp_path: Path, function: Callable[[Path], object]) -> None:
    path = tmp_path / "weights.pth"
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match=r"cannot be read \(no regular file, but a pipe"):
        function(path)


def test_types_that_no_parameter_has_are_named() -> None:
    expected, found = {"a": FOUR}, {"a": FOUR.to(torch.float8_e4m3fn)}
    with pytest.raises(ParameterError, match=r"a: found float8_e4m3fn\[4\], expected \[4\]"):
        require_parameters(Path("weights"), "Network", expected, found, "")


@dataclass(frozen=True, kw_only=True)
class Description:
    settings: dict[str, Any]
    name: str


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "settings": [], "name": "x"}',
        '{"version": 1, "settings": {}, "name": 5}',
        '{"version": 1, "settings": {}, "name": "\\ud800"}',
        "[" * 100_000,
        "[]",
    ],
)
def test_a_malformed_description_is_one_sentence(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"^weights: its description cannot be read"):
        parse_description(Path("weights"), text, Description, 1)


@pytest.mark.parametrize("settings", [{"in_features": 2**62, "out_features": 2**62}, {"in_features": "3"}])
def test_settings_that_are_no_networks_are_one_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"^weights: its settings .* are no network's"):
        build_without_values(Path("weights"), nn.Linear, {"out_features": 1, **settings})
