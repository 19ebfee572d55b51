"""Stored numbers of the published program's own layers, and of our networks' layers that stand for them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from segtrain.models.network import upsample

GOLDEN = Path(__file__).parents[2] / "golden"


def stored(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


BN, INTERP = stored("caffe_bn.npz"), stored("caffe_interp.npz")
RESIZED = sorted(name.removesuffix("_param") for name in INTERP if name.endswith("_param"))
# momentum and eps are of single precision there
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-5}


def norm(dtype: torch.dtype) -> nn.BatchNorm2d:
    """As networks here build them, with the stored slope, bias, mean and variance."""
    layer = nn.BatchNorm2d(4, dtype=dtype)
    layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var = (
        BN["slope_bias_mean_var"].clone().to(dtype)
    )
    return layer


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("state", ["frozen", "test"])
def test_a_batch_norm_is_the_published_one_where_it_is_frozen(state: str, dtype: torch.dtype) -> None:
    """Of `test` the gradient is left out: the published one is that of training, with other numbers."""
    features = BN["in"].to(dtype).requires_grad_()
    found = norm(dtype).eval()(features)
    torch.testing.assert_close(found, BN[f"{state}_out"].to(dtype), atol=TOLERANCE[dtype], rtol=0)
    if state == "frozen":
        (gradient,) = torch.autograd.grad(found, features, BN["gout"].to(dtype))
        torch.testing.assert_close(gradient, BN["frozen_gin"].to(dtype), atol=TOLERANCE[dtype], rtol=0)


def test_a_batch_norm_that_is_trained_keeps_a_larger_variance() -> None:
    """torch's momentum is the share of the new; and it keeps n / (n - 1) times the variance by which it divides."""
    layer = norm(torch.float64).train()
    layer.momentum = 0.05
    features = BN["in"].clone().requires_grad_()
    found = layer(features)
    torch.testing.assert_close(found, BN["train_out"], atol=1e-7, rtol=0)
    wanted = (features, layer.weight, layer.bias)
    for gradient, name in zip(torch.autograd.grad(found, wanted, BN["gout"]), ("gin", "gslope", "gbias"), strict=True):
        torch.testing.assert_close(gradient, BN[f"train_{name}"], atol=2e-6, rtol=0)
    mean, variance = BN["train_mean_var_after"]
    torch.testing.assert_close(layer.running_mean, mean, atol=1e-7, rtol=0)
    count, before = features.numel() / 4, 0.95 * BN["slope_bias_mean_var"][3]
    torch.testing.assert_close(layer.running_var, before + (variance - before) * count / (count - 1), atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", RESIZED)
def test_scores_are_enlarged_as_published(name: str) -> None:
    """The stored ratios are of single precision, hence the tolerance."""
    begin, end = (-int(pixels) for pixels in INTERP[f"{name}_param"][4:])
    features = INTERP[f"{name}_in"].double().requires_grad_()
    expected = INTERP[f"{name}_out"]
    cut = features[..., begin : features.shape[2] - end, begin : features.shape[3] - end]
    found = upsample(cut, expected.shape[-2:])
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)
    (gradient,) = torch.autograd.grad(found, features, INTERP[f"{name}_gout"].double())
    torch.testing.assert_close(gradient, INTERP[f"{name}_gin"], atol=5e-6, rtol=0)


def test_poolings_count_windows_that_are_not_whole() -> None:
    pool = stored("caffe_pool.npz")
    assert torch.equal(F.max_pool2d(pool["in"], 8, 8, ceil_mode=True), pool["out"])
