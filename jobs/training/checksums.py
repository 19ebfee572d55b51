"""Proof that a file of weights, or the checkpoint of a training, holds what was written.

Our safetensors files carry a SHA-256 of what they hold, as text under the metadata's key "sha256". Files of
``torch.save`` are zips since PyTorch 1.6, which carry a CRC-32 of each member. Others carry nothing: that is said once.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

AGAIN = "Copy or download it again"
CHECKSUM = "sha256"  # the metadata's key
ZIP_START = b"PK\x03\x04"
FOLDER = 0x10  # of a zip member's attributes

_log = logging.getLogger(__name__)


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of tensors in memory, and of the texts beside them, wherever in a file they lie.

    It is that of a line of JSON, `{"metadata": {KEY: TEXT, …}, "tensors": [[NAME, DTYPE, SHAPE], …]}`, and of the
    values of all tensors after it, row by row, little-endian. Both are in the order of keys and names; the checksum's
    own key is left out.
    """
    names = sorted(tensors)
    beside = {key: text for key, text in metadata.items() if key != CHECKSUM}
    listed = [[name, dtype_name(tensors[name]), list(tensors[name].shape)] for name in names]
    line = json.dumps({"metadata": beside, "tensors": listed}, sort_keys=True)
    total = hashlib.sha256(f"{line}\n".encode())
    for name in names:
        total.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def prove_members(file: BinaryIO) -> bool:
    """Compare all members of a zip of torch.save with their CRC-32, 1 MiB at a time; False where it carries none.

    Raises: ValueError, where a member is another, or compressed, or shares its bytes with others; and whatever a
    reader of zips raises, depending on the bytes.
    """
    with ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type != ZIP_STORED:  # it might be a thousand times as large as the file
                raise ValueError(f"{member.filename} is compressed, which torch.save never does")
            if member.external_attr & FOLDER:  # torch would leave its tensor as the memory was, without an error
                raise ValueError(f"{member.filename} is marked as a folder")
        if sum(member.file_size for member in members) > os.fstat(file.fileno()).st_size:
            raise ValueError("its members are larger than the file")
        if not any(member.CRC for member in members):
            return False
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is not what was written")
    return True


@cache
def say_unproven(path: Path) -> None:
    """Log a warning, once for each file, that nothing proves what it holds."""
    _log.warning(
        "%s: carries no checksum, so damage to it may go unnoticed; where its SHA-256 is known, `sdcnet inspect FILE "
        "--sha256 HEX` proves it",
        path,
    )


def dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
