"""PSPNet: the published networks' parameters, scores and a step of training on two frames; what it begins with."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.fill import fill, wrong_checksums
from torch import Tensor, nn

from segtrain.data.batches import Batch
from segtrain.losses.consistency.temporal import published_temporal_loss, published_visibility
from segtrain.losses.objective import StepOutput
from segtrain.losses.registry import LOSSES
from segtrain.losses.settings import LossSettings
from segtrain.models.network import SegmentationNetwork, run_stages
from segtrain.models.preprocessing import MEAN, STD, normalised
from segtrain.models.registry import build_network

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = {"pspnet18": "PSPNet18", "pspnet101": "PSPNet101"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in the same order on every machine of a kind
    yield
    torch.set_num_threads(before)


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name) as arrays:
        return {key: arrays[key] for key in arrays.files}


def on_meta(name: str, **settings: int) -> SegmentationNetwork:
    with torch.device("meta"):
        return build_network(name, **settings)


def filled(name: str) -> SegmentationNetwork:
    network = on_meta(name).to_empty(device="cpu")
    fill(network)
    return network


def convolutions(network: nn.Module) -> dict[str, dict[str, object]]:
    """As the published description has them."""
    return {
        name: {
            "kernel": list(layer.kernel_size),
            "stride": list(layer.stride),
            "padding": list(layer.padding),
            "dilation": list(layer.dilation),
            "bias": layer.bias is not None,
        }
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


def assert_close(found: Tensor, stored: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), stored, atol=tolerance, rtol=0)


def assert_close_in_its_range(found: Tensor, stored: np.ndarray, tolerance: float) -> None:
    assert_close(found, stored, tolerance * float(np.abs(stored).max()))


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_convolutions_are_the_published_ones(name: str) -> None:
    network = on_meta(name)
    published = json.loads((GOLDEN / f"{PUBLISHED[name]}.json").read_text())
    state = {
        entry: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for entry, tensor in network.state_dict().items()
    }
    assert state == published["state"]
    assert list(state) == list(published["state"])  # optimisers know parameters by their order
    assert sum(parameter.numel() for parameter in network.parameters()) == published["num_parameters"]
    found, stated = convolutions(network), published["convolutions"]
    assert {layer: found[layer] for layer in stated} == stated
    if name == "pspnet101":  # whose description leaves out what neither strides nor dilates
        plain = [settings for layer, settings in found.items() if layer not in stated]
        assert all(settings["stride"] == settings["dilation"] == [1, 1] for settings in plain)
    else:
        assert found.keys() == stated.keys()


def test_the_mobile_student_has_the_trunk_and_heads_of_its_description() -> None:
    network = on_meta("pspnet-mobilenetv2")
    sizes = {
        name: sum(parameter.numel() for parameter in getattr(network, name).parameters())
        for name in (*network.stage_names, "ppm", "cls", "aux")
    }
    assert sum(sizes[name] for name in network.stage_names) == 3_504_872 - 1_281_000 - 412_160  # less layer and scores
    assert sizes["ppm"] == 4 * (320 * 80 + 2 * 80)
    assert sizes["cls"] == 9 * 640 * 256 + 2 * 256 + 257 * 19
    assert sizes["aux"] == 9 * 96 * 256 + 2 * 256 + 257 * 19
    assert sum(parameter.numel() for parameter in network.parameters()) == sum(sizes.values()) == 3_621_286
    depthwise = [layer for name, layer in convolutions(network).items() if name.endswith(("conv.0.0", "conv.1.0"))]
    scales = [(layer["stride"][0], layer["dilation"][0]) for layer in depthwise if layer["kernel"] == [3, 3]]  # type: ignore[index]
    assert scales == [(1, 1)] + [(2, 1), (1, 1)] + [(2, 1), (1, 1), (1, 1)] + 7 * [(1, 2)] + 4 * [(1, 4)]
    with torch.device("meta"):
        found = network.eval().outputs(torch.empty(2, 3, 65, 97), features=("context",))
    assert found.auxiliary["aux"].shape == (2, 19, 9, 13)
    assert found.features["context"].shape == (2, 640, 9, 13)


def test_output_stride_16_strides_once_more_and_dilates_half_as_far() -> None:
    layers = convolutions(on_meta("pspnet18", output_stride=16))
    settings = {name: (layers[name]["stride"][0], layers[name]["dilation"][0]) for name in layers}  # type: ignore[index]
    assert [settings[f"layer3.{block}.conv{number}"] for block in (0, 1) for number in (1, 2)] == [
        (2, 1),
        (1, 1),
        (1, 1),
        (1, 1),
    ]
    assert [settings[f"layer4.{block}.conv{number}"] for block in (0, 1) for number in (1, 2)] == [
        (1, 1),
        (1, 2),
        (1, 1),
        (1, 2),
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_fill_is_that_of_the_stored_numbers(name: str) -> None:
    assert wrong_checksums(PUBLISHED[name], filled(name).state_dict().items()) == []


def test_scores_and_features_match_the_stored_numbers() -> None:
    network, stored = filled("pspnet18").eval(), load("pspnet_logits.npz")
    images = normalised(torch.from_numpy(stored["image_uint8"]))
    with torch.inference_mode():
        logits, auxiliary, features = network.outputs(images, features=("context", "decoder"))
        assert torch.equal(network(images), logits)
        mirrored = network(images.flip(-1)).flip(-1)
    assert_close(features["decoder"], stored["logits"], 1e-4)
    assert_close(auxiliary["aux"], stored["dsn"], 1e-4)
    assert_close(logits[:, :, 24:40, 56:72], stored["full_center"], 1e-4)
    assert np.count_nonzero(logits.argmax(1).numpy() != stored["argmax"]) <= 2  # the smallest margin is 6e-5
    assert_close(features["context"].mean(dim=(0, 2, 3)), stored["fea_mean"], 1e-5)
    assert_close(features["context"][:, :, 0, 0], stored["fea_corner"], 1e-5)
    probabilities = (logits.softmax(1) + mirrored.softmax(1)) / 2
    assert_close(probabilities[:, :, 24:40, 56:72], stored["flip_prob_center"], 1e-5)
    assert np.count_nonzero(probabilities.argmax(1).numpy() != stored["flip_argmax"]) <= 2


def test_scores_of_odd_sizes_match_the_stored_numbers() -> None:
    network, stored = filled("pspnet18").eval(), load("pspnet_logits.npz")
    with torch.inference_mode():
        found = run_stages(network.stages, normalised(torch.from_numpy(stored["odd_image_uint8"])))
    assert_close(found["decoder"], stored["odd_logits_low"], 1e-4)
    assert_close(found["logits"], stored["odd_logits"], 1e-4)


def normalised_as_published(images: Tensor) -> Tensor:
    """In float32, of levels, as float64: ours rounds otherwise, which the gradient of the first layer tells apart."""
    mean, std = (255 * torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((images.float() - mean) / std).double()


def test_a_step_of_training_on_two_frames_matches_the_stored_numbers() -> None:
    stored = load("pspnet_train_step.npz")
    network = filled("pspnet18").double().train()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout2d):
            layer.p = 0.0  # as in the stored numbers
    image, frame = (normalised_as_published(torch.from_numpy(stored[f"{name}_uint8"])) for name in ("image", "frame"))
    labels, flow = torch.from_numpy(stored["label"]), torch.from_numpy(stored["flow"]).double()

    of_image, of_frame = (network.outputs(images, features=("decoder",)) for images in (image, frame))
    scored = {
        "logits": of_image.features["decoder"],
        "frame_logits": of_frame.features["decoder"],
        "dsn": of_image.auxiliary["aux"],
    }
    for tensor in scored.values():
        tensor.retain_grad()
    objective = LOSSES["cross-entropy"](LossSettings(class_weights=tuple(stored["class_weights"].tolist())))
    batch = Batch(torch.from_numpy(stored["image_uint8"]), labels)
    cross_entropy = objective(
        StepOutput(logits=of_image.logits, auxiliary=of_image.auxiliary, batch=batch, epoch=0)
    ).total
    is_same = published_visibility(image, frame, flow)
    temporal = 0.1 * published_temporal_loss(of_image.logits, of_frame.logits, flow, is_same)
    total = cross_entropy + temporal
    total.backward()

    losses = [loss.item() for loss in (cross_entropy, temporal, total)]
    np.testing.assert_allclose(losses, stored["losses"], rtol=1e-6)
    assert np.array_equal(of_image.logits.argmax(1).numpy(), stored["output"])
    for name, tensor in scored.items():
        assert_close_in_its_range(tensor, stored[name], 1e-5)
        assert_close_in_its_range(tensor.grad, stored[f"grad_{name}"], 1e-5)
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    norms = [gradients[name].norm().item() for name in stored["gradnorm_names"]]
    assert len(norms) == len(gradients) == 82
    np.testing.assert_allclose(norms, stored["gradnorm"], rtol=1e-4)
    for prefix, found, number in (("grad__", gradients, 6), ("bn__", dict(network.named_buffers()), 10)):
        entries = [key for key in stored if key.startswith(prefix)]
        assert len(entries) == number
        for entry in entries:
            assert_close_in_its_range(found[entry.removeprefix(prefix)], stored[entry], 1e-5)


def test_the_trunk_begins_by_what_its_convolutions_give_and_the_heads_as_torch_has_them() -> None:
    torch.manual_seed(0)
    network = build_network("pspnet18")
    strided = network.layer2[0].conv1.weight  # 64 channels of 3x3 to 128
    assert strided.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.01)
    pyramid = network.ppm.features[0][1].weight  # uniform, of 512 channels
    assert pyramid.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)
    assert network.cls[4].bias.abs().max() > 0
