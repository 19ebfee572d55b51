"""The video predictors: the published parameters' names and shapes, the published numbers, sequences of any size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.fill import CONSTANTS, fill, wrong_checksums
from torch import Tensor

from sdcnet.geometry import warp_frames, warp_labels
from sdcnet.losses import PredictionLosses, prediction_losses
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor

GOLDEN = Path(__file__).parents[2] / "golden"
KINDS = [SDCNet2D, SDCNet2DRecon]
CASES = {
    "sdcnet2d_64x128": (SDCNet2D, 2),
    "sdcnet2d_seq3_64x128": (SDCNet2D, 3),
    "sdcnet2d_recon_64x128_b2": (SDCNet2DRecon, 2),
    "sdcnet2d_recon_128x192": (SDCNet2DRecon, 2),
}
CASES_WITH_GRADIENTS = ["sdcnet2d_64x128", "sdcnet2d_recon_64x128_b2"]


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def random_sequence(network: VideoPredictor, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = 255 * torch.rand(1, network.num_frames, 3, height, width, generator=generator)
    flows = 5 * torch.randn(1, network.num_frames - 1, 2, height, width, generator=generator)
    return frames, flows


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[dict[str, np.ndarray], Tensor, Tensor, PredictionLosses]:
    """The stored numbers, and what the filled network makes of the same frames and flows."""
    kind, num_history = CASES[request.param]
    network = kind(num_history=num_history)
    fill(network)
    golden = load(request.param)
    frames, flows = torch.from_numpy(golden["images"]), torch.from_numpy(golden["flow_in"])
    with torch.no_grad():
        prediction = network(frames[:, : network.num_frames], flows)
    return golden, *prediction, prediction_losses(prediction, frames[:, -1].float())


@pytest.fixture(scope="module")
def narrow() -> SDCNet2DRecon:
    network = SDCNet2DRecon(width=0.1).requires_grad_(False)
    fill(network)
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_have_the_published_names_and_shapes(kind: type[VideoPredictor]) -> None:
    state = kind().state_dict()
    described = {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in state.items()}
    published = json.loads((GOLDEN / f"{kind.__name__}.json").read_text())
    assert described == published
    assert list(described) == list(published)  # optimizers know parameters by their order


@pytest.mark.parametrize("kind", KINDS)
def test_the_fill_is_the_one_that_the_stored_numbers_were_made_with(kind: type[VideoPredictor]) -> None:
    network = kind()
    fill(network)
    filled = [(name, tensor) for name, tensor in network.state_dict().items() if name not in CONSTANTS]
    assert wrong_checksums(f"{kind.__name__}_checkpoint", filled) == []


def test_displacement_matches_the_stored_numbers(case: tuple) -> None:
    golden, flow, _, _ = case
    # 1e-5 px was seen; the reference's own float32 is as far from its float64
    torch.testing.assert_close(flow, torch.from_numpy(golden["flow_pred"]), atol=2e-4, rtol=0)


def test_predicted_frame_matches_the_stored_numbers(case: tuple) -> None:
    golden, _, frame, _ = case
    torch.testing.assert_close(frame, torch.from_numpy(golden["image_pred"]), atol=0.05, rtol=0)
    levels = frame.to(torch.uint8).int() - torch.from_numpy(golden["image_pred_uint8"]).int()
    assert levels.abs().max() <= 1
    assert (levels != 0).float().mean() <= 0.01  # values next to a whole level, which truncation tears apart


def test_label_carried_by_the_displacement_matches_the_stored_one(case: tuple) -> None:
    golden, flow, _, _ = case
    label = warp_labels(torch.from_numpy(golden["label"]), flow)
    assert (label != torch.from_numpy(golden["label_pred"])).float().mean() <= 5e-4


def test_losses_match_the_stored_numbers(case: tuple) -> None:
    golden, _, _, losses = case
    stored = [golden[f"loss_{name}"] for name in ("color", "color_gradient", "flow_smoothness", "tot")]
    np.testing.assert_allclose([loss.item() for loss in losses], stored, rtol=1e-4)


@pytest.mark.parametrize("name", CASES_WITH_GRADIENTS)
def test_gradients_match_the_stored_numbers(name: str) -> None:
    kind, num_history = CASES[name]
    network = kind(num_history=num_history)
    fill(network)
    golden = load(name)
    frames = torch.from_numpy(golden["images"]).float()
    prediction = network(frames[:, : network.num_frames], torch.from_numpy(golden["flow_in"]))
    prediction_losses(prediction, frames[:, -1]).total.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    norms = [gradients[name].norm().item() for name in golden["gradnorm_names"]]
    assert set(golden["gradnorm_names"]) == set(gradients)
    np.testing.assert_allclose(norms, golden["gradnorm"], rtol=1e-3)
    whole = {key.removeprefix("grad_"): value for key, value in golden.items() if key.startswith("grad_")}
    assert len(whole) == 5
    for parameter, expected in whole.items():
        error = np.linalg.norm(gradients[parameter].numpy() - expected) / np.linalg.norm(expected)
        assert error <= 1e-3, parameter


@pytest.mark.parametrize("size", [(1, 1), (63, 65), (97, 130)])
def test_takes_frames_of_any_size(narrow: SDCNet2DRecon, size: tuple[int, int]) -> None:
    flow, frame = narrow(*random_sequence(narrow, *size))
    assert flow.shape == (1, 2, *size)
    assert frame.shape == (1, 3, *size)
    assert flow.isfinite().all()


def test_layers_see_flows_then_frames_without_their_means_and_the_border_repeated(narrow: SDCNet2DRecon) -> None:
    frames, flows = random_sequence(narrow, 50, 70)
    seen = []
    hook = narrow.conv1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    narrow.displacement(frames, flows)
    hook.remove()
    inputs = seen[0]
    assert inputs.shape == (1, 4 + 9, 64, 128)
    mean, std = narrow.flow_mean[0, 1], narrow.flow_std[0, 1]
    torch.testing.assert_close(inputs[0, 3, :50, :70], (flows[0, 1, 1] - mean) / (3 * std))  # u1 u2 v1 (v2)
    middle_green = (frames[0, 1, 1] - frames[0, :, 1].mean()) / 255
    torch.testing.assert_close(inputs[0, 8, :50, :70], middle_green)  # b1 b2 b3 g1 (g2)
    assert torch.equal(inputs[..., 49:, :], inputs[..., 49:50, :].expand(-1, -1, 15, -1))
    assert torch.equal(inputs[..., 69:], inputs[..., 69:70].expand(-1, -1, -1, 59))


def test_frame_is_the_last_of_the_history_moved_by_the_displacement() -> None:
    for kind, num_history in CASES.values():
        network = kind(num_history=num_history, width=0.1).requires_grad_(False)
        frames, flows = random_sequence(network, 64, 64)
        flow, frame = network(frames, flows)
        assert torch.equal(frame, warp_frames(frames[:, num_history - 1], flow))


def test_reads_each_sample_by_itself(narrow: SDCNet2DRecon) -> None:
    frames, flows = random_sequence(narrow, 64, 64)
    alone = narrow.displacement(frames, flows)
    beside_another = narrow.displacement(torch.cat((frames, frames / 3)), torch.cat((flows, -flows)))
    torch.testing.assert_close(beside_another[:1], alone, atol=1e-4, rtol=0)


def test_brightness_of_the_whole_sequence_does_not_count(narrow: SDCNet2DRecon) -> None:
    frames, flows = random_sequence(narrow, 64, 64)
    brighter = narrow.displacement(frames / 2 + 40, flows)
    torch.testing.assert_close(brighter, narrow.displacement(frames / 2, flows), atol=1e-4, rtol=0)


def test_weights_of_half_precision_give_a_displacement_in_float32(narrow: SDCNet2DRecon) -> None:
    frames, flows = random_sequence(narrow, 64, 64)
    half = SDCNet2DRecon(width=0.1)
    half.load_state_dict(narrow.state_dict())
    half.to(torch.bfloat16).requires_grad_(False)
    flow = half.displacement(frames.to(torch.uint8), flows.to(torch.bfloat16))
    assert flow.dtype == torch.float32
    # flows of some 5 px, whose 8 bits are 0.02 px apart at their best
    assert (flow - narrow.displacement(frames, flows)).abs().mean() < 0.05


def test_width_scales_the_layers_but_none_below_the_published_narrowest() -> None:
    network = SDCNet2D(width=0.5)
    assert network.conv6[0].weight.shape == (256, 128, 3, 3)
    assert network.deconv0[0].weight.shape == (24, 8, 4, 4)
    assert network.final_flow.weight.shape == (2, 16, 3, 3)


def test_compiles_without_breaks(narrow: SDCNet2DRecon) -> None:
    frames, flows = random_sequence(narrow, 64, 64)
    compiled = torch.compile(narrow.displacement, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(frames, flows), narrow.displacement(frames, flows))


@pytest.mark.parametrize(
    ("frames", "flows", "message"),
    [
        ((1, 2, 3, 8, 8), (1, 1, 2, 8, 8), r"SDCNet2DRecon takes frames \[B,3,3,H,W\], found \[1, 2, 3, 8, 8\]"),
        ((3, 3, 8, 8), (1, 2, 2, 8, 8), r"frames \[B,3,3,H,W\], found \[3, 3, 8, 8\]"),
        ((1, 3, 3, 8, 8), (1, 3, 2, 8, 8), r"flows between its frames, \[1, 2, 2, 8, 8\], found \[1, 3, 2, 8, 8\]"),
        ((1, 3, 3, 8, 8), (1, 2, 2, 4, 8), r"found \[1, 2, 2, 4, 8\]"),
        ((2, 3, 3, 8, 8), (1, 2, 2, 8, 8), r"\[2, 2, 2, 8, 8\], found \[1, 2, 2, 8, 8\]"),
    ],
)
def test_refuses_other_shapes(narrow: SDCNet2DRecon, frames: tuple, flows: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        narrow(torch.zeros(frames), torch.zeros(flows))


def test_refuses_flows_that_hold_no_numbers(narrow: SDCNet2DRecon) -> None:
    flows = torch.zeros(1, 2, 2, 64, 64)
    flows[0, 1, 0, 5, 5] = torch.nan
    with pytest.raises(ValueError, match=r"1 of 16384 values .* are NaN or infinite"):
        narrow(torch.zeros(1, 3, 3, 64, 64), flows)


def test_refuses_a_history_without_flow_and_no_width() -> None:
    with pytest.raises(ValueError, match="SDCNet2D needs flows, so two frames or more; found num_history 1"):
        SDCNet2D(num_history=1)
    with pytest.raises(ValueError, match="width must be a number above 0, found 0"):
        SDCNet2D(width=0)
    assert SDCNet2DRecon(num_history=1).num_frames == 2
