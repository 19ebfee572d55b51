"""What a training has left in its folder, and how two of them compare."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.training.run_folder import load_checkpoint


def checkpoint(out: Path) -> dict[str, Any]:
    saved = load_checkpoint(out)
    assert saved is not None
    return saved


def moments(out: Path) -> list[Tensor]:
    """Of SGD: after two steps, the sums of the gradients, the first one weighing less."""
    return [state["momentum_buffer"] for state in checkpoint(out)["optimiser"]["state"].values()]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_same_tensors(one: Mapping[Any, Tensor], other: Mapping[Any, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def assert_equal_runs(one: Path, other: Path) -> None:
    """The same weights, averages, moments and files, bit for bit."""
    first, second = checkpoint(one), checkpoint(other)
    for part in ("network", "average"):
        assert_same_tensors(first[part], second[part])
    for number, state in first["optimiser"]["state"].items():
        assert_same_tensors(state, second["optimiser"]["state"][number])
    assert (first["step"], first["best"], first["scores"]) == (second["step"], second["best"], second["scores"])
    for name in ("last.safetensors", "best.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def assert_close_moments(one: Path, other: Path) -> None:
    """Each tensor's difference, relative to its norm: sums are rounded otherwise."""
    for mine, yours in zip(moments(one), moments(other), strict=True):
        assert (mine - yours).norm() <= 1e-4 * yours.norm()
