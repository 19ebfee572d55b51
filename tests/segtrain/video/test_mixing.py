"""NetWarp's module, against the numbers of its published layers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.fill import fill_values
from torch import Tensor

from sdcnet.geometry import warp_frames
from segtrain.video.mixing import FlowCNN, Mixing, Pooled, pooled_as_published
from segtrain.video.registry import FORMS

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
MEAN = torch.tensor((103.939, 116.779, 123.68), dtype=torch.float64)[:, None, None]  # blue, green, red


def numbers(name: str) -> Mapping[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored}


@pytest.mark.parametrize("case", ["fractional", "integer", "edges", "row", "column", "far"])
def test_warping_is_the_published_layers(case: str) -> None:
    """Of its gradients the one along the flow is ours: one-sided where the flow is whole, where theirs is 0."""
    stored = numbers("netwarp_warp")
    features, flow = (stored[f"{case}_{name}"].clone().requires_grad_() for name in ("x", "flow"))
    warped = warp_frames(features, flow)
    warped.backward(stored[f"{case}_gout"])
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(warped.double(), stored[f"{case}_nearest_out"], **close)
    torch.testing.assert_close(features.grad.double(), stored[f"{case}_nearest_gx"], **close)
    if case == "fractional":
        torch.testing.assert_close(flow.grad.double(), stored[f"{case}_nearest_gflow"], **close)


def test_pooling_is_the_published_one() -> None:
    stored = numbers("netwarp_module")
    flow = (stored["flow_q"].double() + 0.5) / 64
    frame, previous = (stored[f"{name}_bgr_uint8"].double() - MEAN for name in ("current", "previous"))
    pooled = pooled_as_published(flow[None], frame[None], previous[None])
    for found, name in zip(pooled, ("flow", "current", "previous"), strict=True):
        torch.testing.assert_close(found.float(), stored[f"pooled_{name}"])


def filled(form: str) -> Mixing:
    """The module with the values that anybody can compute; `conv4` is drawn as any other layer."""
    module = Mixing(32, form).double()
    names = {"current": "current.weight", "previous": "previous.weight"}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = fill_values(f"netwarp_{form}.{names.get(name, name)}", tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values).float())
    return module


@pytest.mark.parametrize("form", FORMS)
def test_the_module_and_its_gradients_are_the_published_ones(form: str) -> None:
    stored = numbers("netwarp_module")
    module = filled(form)
    flow = stored["pooled_flow"].double().requires_grad_()
    frame, previous = (stored[f"pooled_{name}"].double() for name in ("current", "previous"))
    features, before = (
        stored[f"features_{name}_q"].double().div(16).requires_grad_() for name in ("current", "previous")
    )
    transformed = module.flow_cnn(flow, frame, previous)
    combined = module(features, before, Pooled(flow, frame, previous))
    loss = (combined * stored["gout_q"].double() / 16).sum()
    loss.backward()
    close = {"rtol": 2e-6, "atol": 2e-6}
    torch.testing.assert_close(transformed, stored[f"{form}_transformed_flow"].double(), **close)
    torch.testing.assert_close(combined, stored[f"{form}_combined"].double(), **close)
    assert loss.item() == pytest.approx(stored[f"{form}_loss"].item(), abs=5e-3)
    names = {"current": "current.weight", "previous": "previous.weight"}
    gradients = {f"grad.{names.get(name, name)}": parameter.grad for name, parameter in module.named_parameters()}
    gradients |= {"gfeatures_current": features.grad, "gfeatures_previous": before.grad, "gpooled_flow": flow.grad}
    for name, gradient in gradients.items():
        expected = stored[f"{form}_{name}"].double()
        assert (gradient - expected).norm() <= 1e-4 * expected.norm(), name


@pytest.mark.parametrize("form", FORMS)
def test_it_begins_as_the_features_alone_and_the_flow_as_it_is(form: str) -> None:
    torch.manual_seed(0)
    features, before, flow = torch.rand(2, 6, 4, 5), torch.rand(2, 6, 4, 5), torch.randn(2, 2, 4, 5)
    pooled = Pooled(flow, torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5))
    module = Mixing(6, form)
    assert torch.equal(module(features, before, pooled), features)
    assert torch.equal(module.flow_cnn(*pooled), flow)
    module(features, before, pooled).square().sum().backward()
    assert module.previous.grad.abs().min() > 0  # it is not idle for good


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_does_not_round_the_flow(form: str) -> None:
    """One of 100 cells would be a quarter of a cell off."""
    flow, frame = 100.3 + torch.rand(1, 2, 4, 5), torch.rand(1, 3, 4, 5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FlowCNN(form)(flow, frame, frame), flow)


def test_a_form_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="one of the forms released, paper, found 'other'"):
        FlowCNN("other")
