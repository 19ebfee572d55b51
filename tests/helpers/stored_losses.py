"""Stored losses with their gradients, each key `CASE + separator + loss` and so on, and how ours compare."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden"


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def assert_case(
    stored: Mapping[str, Tensor],
    prefix: str,
    loss: Tensor,
    inputs: Mapping[str, Tensor],
    *,
    relative: float = 1e-6,
    of_norm: bool = True,
) -> None:
    """The loss is the stored one, and so are its gradients by inputs, of which the norm alone may be stored.

    prefix: of the keys, with its separator. inputs: as stored gradients are called after "grad_"; all must be there.
    relative: the tolerance of the loss. Gradients may be off by 1e-5 of their norm, or else of their largest value.
    """
    assert loss.item() == pytest.approx(stored[f"{prefix}loss"].item(), rel=relative)
    names = {key.removeprefix(f"{prefix}grad_") for key in stored if key.startswith(f"{prefix}grad_")}
    assert names == inputs.keys()
    if not inputs:
        return
    for name, found in zip(inputs, torch.autograd.grad(loss, tuple(inputs.values())), strict=True):
        expected = stored[f"{prefix}grad_{name}"].to(found.dtype)
        if expected.ndim == 0:
            assert found.norm().item() == pytest.approx(expected.item(), rel=1e-5)
        else:
            difference = found - expected
            error = difference.norm() / expected.norm() if of_norm else difference.abs().max() / expected.abs().max()
            assert error < 1e-5
