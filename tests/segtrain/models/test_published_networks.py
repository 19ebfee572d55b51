"""The published networks: their parameters' names, shapes and order, their logits, and a step of training."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from golden.fill import fill, wrong_checksums
from torch import Tensor, nn

from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network
from segtrain.models.wide_resnet import WideResNet38

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = {
    "deepwv3plus": "DeepWV3Plus",
    "srnx50": "DeepSRNX50V3PlusD_m1",
    "srnx101": "DeepSRNX101V3PlusD_m1",
    "resnet50": "DeepR50V3PlusD_m1",
    "resnet101": "DeepV3Plus_resnet-101",
}
NUM_PARAMETERS = {"deepwv3plus": 137_103_936, "srnx50": 42_353_904, "resnet50": 40_351_040}
HAVE_CHECKSUMS = ("deepwv3plus", "srnx50", "resnet50")


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name) as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture(scope="module")
def stored_logits() -> dict[str, np.ndarray]:
    return load("segmentation_logits.npz")


@pytest.fixture(scope="module")
def stored_steps() -> dict[str, np.ndarray]:
    return load("segmentation_train_step.npz")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in the same order on every machine of a kind
    yield
    torch.set_num_threads(before)


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_network(name)


def filled(network: nn.Module) -> nn.Module:
    network = network.to_empty(device="cpu")
    fill(network)
    return network


def described(network: nn.Module) -> dict[str, list[object]]:
    state = network.state_dict()
    return {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in state.items()}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_parameters_have_the_published_names_shapes_and_order(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        network = build_network(name, output_stride=output_stride)
    published = json.loads((GOLDEN / f"{PUBLISHED[name]}.json").read_text())
    assert described(network) == published
    assert list(described(network)) == list(published)  # optimizers know parameters by their order
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    assert num_parameters == NUM_PARAMETERS.get(name, num_parameters)


def test_classifier_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = WideResNet38()
    published = json.loads((GOLDEN / "WiderResNet38_ImageNet.json").read_text())
    assert {f"module.{name}": value for name, value in described(network).items()} == published
    assert sum(parameter.numel() for parameter in network.parameters()) == 109_167_912


@pytest.mark.parametrize("name", PUBLISHED)
def test_logits_match_the_stored_numbers(name: str, stored_logits: dict[str, np.ndarray]) -> None:
    network = filled(on_meta(name)).eval()
    if name in HAVE_CHECKSUMS:
        assert wrong_checksums(PUBLISHED[name], network.state_dict().items()) == []
    odd = ("odd_",) if f"{name}_odd_logits" in stored_logits else ()
    for size in ("", *odd):
        images = torch.from_numpy(stored_logits[f"{size}image"])
        with torch.inference_mode():
            logits = network(normalised(images)).numpy()
        stored = stored_logits[f"{name}_{size}logits"]  # of every 2nd or 4th row and column
        step = -(-logits.shape[-2] // stored.shape[-2])
        tolerance = 2e-3 if name == "resnet101" else 5e-4  # whose logits reach 42
        np.testing.assert_allclose(logits[..., ::step, ::step], stored, atol=tolerance, rtol=0)
        assert np.array_equal(logits.argmax(axis=1), stored_logits[f"{name}_{size}classes"])


def test_classifier_matches_the_stored_numbers(stored_logits: dict[str, np.ndarray]) -> None:
    with torch.device("meta"):
        plain, dilated = WideResNet38().eval(), WideResNet38(output_stride=8).eval()
    plain = filled(plain)
    state = {f"module.{name}": tensor for name, tensor in plain.state_dict().items()}
    assert wrong_checksums("WiderResNet38_ImageNet", state.items()) == []
    dilated.load_state_dict(plain.state_dict(), assign=True)
    images = normalised(torch.from_numpy(stored_logits["image"]))
    for name, network in {"plain": plain, "dilated": dilated}.items():
        with torch.inference_mode():
            logits = network(images).numpy()
        np.testing.assert_allclose(logits, stored_logits[f"classifier_{name}"], atol=5e-4, rtol=0)


def published_relaxed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The published boundary relaxation, windows of 3x3, with its defect: each image gets the weights 1/n of all."""
    num_classes = logits.shape[1]
    one_hot = F.one_hot(labels.masked_fill(labels == 255, num_classes), num_classes + 1).movedim(-1, 1)
    windows = F.max_pool2d(one_hot.to(logits.dtype), 3, stride=1, padding=1)
    windows[:, -1, [0, -1], :] = windows[:, -1, :, [0, -1]] = 1  # the outside is ignored
    counts = windows.sum(dim=(2, 3), keepdim=True)
    share = (counts / counts.sum(dim=1, keepdim=True))[:, :-1]
    class_weights, sets = 1 + (share > 0) * (1 - share), windows[:, :-1]
    scores = logits.softmax(dim=1)
    relaxed = torch.maximum(scores, sets * (sets * scores).sum(dim=1, keepdim=True))
    pixels = -(sets * class_weights * relaxed.log()).sum(dim=1)
    sizes = sets.sum(dim=1)
    divisor = (sizes > 0).sum(dim=(1, 2)) + 1
    return ((1 / sizes.clamp(min=1)).sum(dim=0) * pixels).sum(dim=(1, 2)).div(divisor).sum()


@pytest.mark.parametrize(("name", "checkpoint_activations"), [("resnet50", False), ("srnx50", True)])
def test_a_step_of_training_matches_the_stored_numbers(
    name: str, checkpoint_activations: bool, stored_steps: dict[str, np.ndarray]
) -> None:
    network = filled(on_meta(name)).double().train()
    network.checkpoint_activations = checkpoint_activations
    images = normalised(torch.from_numpy(stored_steps["image"])).double()
    labels = torch.from_numpy(stored_steps["label"]).long()
    logits = network(images)
    losses = {
        "ce": F.cross_entropy(logits, labels, ignore_index=255),
        "relax": published_relaxed_loss(logits, labels),
    }
    for kind, loss in losses.items():
        assert loss.item() == pytest.approx(float(stored_steps[f"{name}_{kind}_loss"]), rel=1e-7)
        network.zero_grad()
        loss.backward(retain_graph=True)
        parameters = dict(network.named_parameters())
        norms = torch.stack([parameter.grad.norm() for parameter in parameters.values()])
        np.testing.assert_allclose(norms.numpy(), stored_steps[f"{name}_{kind}_gradnorm"], rtol=1e-5)
        gradients = entries(stored_steps, f"{name}_{kind}_grad_")
        assert len(gradients) == 5
        for parameter, gradient in gradients.items():
            assert relative_difference(parameters[parameter].grad, gradient) < 1e-5
    buffers, statistics = dict(network.named_buffers()), entries(stored_steps, f"{name}_ce_buf_")
    assert len(statistics) == 4
    for buffer, values in statistics.items():
        assert relative_difference(buffers[buffer], values) < 1e-6
    assert {int(value) for buffer, value in buffers.items() if buffer.endswith("num_batches_tracked")} == {1}


def entries(stored: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): values for key, values in stored.items() if key.startswith(prefix)}


def relative_difference(found: Tensor, stored: np.ndarray) -> float:
    return float(np.linalg.norm(found.detach().numpy() - stored) / np.linalg.norm(stored))
