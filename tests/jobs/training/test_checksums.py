"""Files of weights and checkpoints are proven when they are read: no flipped bit changes a value unnoticed.

With FAULTS=all (`make faults`) 200 bits of each; `--capture no` shows how many were refused.
"""

import hashlib
import io
import os
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from jobs.errors import CheckpointError, RunFolderError
from jobs.training.checksums import checksum
from jobs.training.run_folder import load_checkpoint, save_checkpoint
from jobs.training.weights import digest, read_weights, write_weights

NUM_FLIPS = 200 if os.environ.get("FAULTS") == "all" else 120
NO_PREFIXES = re.compile("^$")
NETWORK = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def read(path: Path) -> object:
    """What a file of weights holds, as values that compare."""
    file = read_weights(path, NO_PREFIXES)
    return sorted((name, tensor.tolist()) for name, tensor in file.tensors.items()), file.fields


def resume(path: Path) -> object:
    """What a checkpoint holds, as a text."""
    return repr(load_checkpoint(path.parent))


def ours(folder: Path) -> Path:
    write_weights(folder / "ours.safetensors", NETWORK, {"network": "linear"})
    return folder / "ours.safetensors"


def published(folder: Path) -> Path:
    torch.save({"epoch": 4, "state_dict": NETWORK.state_dict()}, folder / "published.pth")
    return folder / "published.pth"


def legacy(folder: Path) -> Path:
    torch.save(NETWORK.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder / "old.pth"


def begun(folder: Path) -> Path:
    save_checkpoint(folder, {"step": 3, "network": NETWORK.state_dict(), "average": None})
    return folder / "checkpoint.pt"


@pytest.mark.parametrize(
    ("write", "load", "error"),
    [(ours, read, CheckpointError), (published, read, CheckpointError), (begun, resume, RunFolderError)],
)
def test_a_flipped_bit_is_refused_or_changes_nothing(
    tmp_path: Path, write: Callable, load: Callable, error: type[Exception]
) -> None:
    path, generator = write(tmp_path), random.Random(0)
    content, expected = path.read_bytes(), load(path)
    refusals = []
    for _ in range(NUM_FLIPS):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            assert load(path) == expected
        except error as caught:
            refusals.append(str(caught))
    print(f"{path.name}: {NUM_FLIPS} flips, {len(refusals)} refused in a sentence")
    assert all(refusal.startswith(f"{path}: ") and "\n" not in refusal for refusal in refusals)
    assert len(refusals) >= NUM_FLIPS / 3  # the other bits are padding, dates, and headers that say the same twice


def test_every_bit_of_a_parameter_is_proven(tmp_path: Path) -> None:
    path = published(tmp_path)
    content = path.read_bytes()
    start = content.index(NETWORK[0].weight.detach().numpy().tobytes())
    for bit in range(0, 8 * 4 * 12, 5):
        damaged = bytearray(content)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"is not what was written\)\. Copy or download it again"):
            read(path)


def test_a_damaged_checkpoint_says_what_helps(tmp_path: Path) -> None:
    path = begun(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(NETWORK[0].bias.detach().numpy().tobytes(), bytes(16)))
    message = r"checkpoint\.pt: damaged \(ValueError: .*\); remove it to train from the beginning, or put a copy"
    with pytest.raises(RunFolderError, match=message):
        load_checkpoint(tmp_path)


def test_the_checksum_is_of_names_shapes_types_values_and_texts() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    others = [
        {"a": torch.zeros(2, 3), "c": torch.ones(2)},
        {"a": torch.zeros(3, 2), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "b": -torch.ones(2)},
    ]
    expected = checksum(tensors, {"text": "x"})
    assert len({expected, checksum(tensors, {"text": "y"}), *(checksum(each, {"text": "x"}) for each in others)}) == 6
    assert checksum(dict(reversed(tensors.items())), {"text": "x", "sha256": "0"}) == expected
    line = '{"metadata": {"text": "x"}, "tensors": [["a", "float32", [2, 3]], ["b", "float32", [2]]]}\n'
    assert expected == hashlib.sha256(line.encode() + struct.pack("<8f", *6 * [0], 1, 1)).hexdigest()


def test_files_with_a_checksum_stay_the_same_byte_for_byte(tmp_path: Path) -> None:
    assert len({ours(tmp_path).read_bytes() for _ in range(8)}) == 1  # safetensors writes texts in any order


def test_weights_are_named_by_their_whole_file_as_ever(tmp_path: Path) -> None:
    path = ours(tmp_path)
    assert digest(path) == read_weights(path, NO_PREFIXES).digest
    changed = tmp_path / "changed"
    changed.write_bytes(path.read_bytes() + b"x")
    assert digest(changed) != digest(path)


def test_a_file_without_a_checksum_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unproven = tmp_path / "unproven.safetensors"
    save_file(load_file(ours(tmp_path)), unproven)
    expected = read(ours(tmp_path))
    for path in (unproven, legacy(tmp_path)):
        assert read(path) == expected == read(path)
        assert [record.getMessage() for record in caplog.records] == [
            f"{path}: carries no checksum, so damage to it may go unnoticed; where its SHA-256 is known, `sdcnet "
            "inspect FILE --sha256 HEX` proves it"
        ]
        caplog.clear()
    read(published(tmp_path))
    assert not caplog.records


def test_a_zip_without_checksums_is_read_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.serialization, "get_crc32_options", lambda: False)
    assert load_checkpoint(begun(tmp_path).parent)["step"] == 3
    read(published(tmp_path))
    assert ["carries no checksum" in record.getMessage() for record in caplog.records] == [True, True]


def test_a_given_digest_proves_any_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = legacy(tmp_path)
    assert read_weights(path, NO_PREFIXES, digest(path).upper()).digest == digest(path)
    assert not caplog.records
    with pytest.raises(
        CheckpointError, match=rf"its SHA-256 is {digest(path)}, expected {64 * '0'}\. Copy or download"
    ):
        read_weights(path, NO_PREFIXES, 64 * "0")


def rewritten(path: Path, change: Callable[[zipfile.ZipInfo], None]) -> None:
    """Write the members of a zip again, with what is changed about each."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            member = zipfile.ZipInfo(name)
            change(member)
            after.writestr(member, before.read(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda member: setattr(member, "compress_type", zipfile.ZIP_DEFLATED),
            "is compressed, which torch.save never",
        ),
        (lambda member: setattr(member, "external_attr", 0x10), "is marked as a folder"),
    ],
)
def test_a_zip_that_torch_would_read_otherwise_is_refused(tmp_path: Path, change: Callable, message: str) -> None:
    path = published(tmp_path)
    rewritten(path, change)
    with pytest.raises(CheckpointError, match=message):
        read(path)
