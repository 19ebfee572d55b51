"""FlowNet2: the published parameters' names and shapes, the published network's numbers, frames of any size."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.fill import fill, wrong_checksums
from torch import Tensor
from torch.nn import functional

from sdcnet.networks.flownet2 import FlowNet2, normalized, pad_to_stride

GOLDEN = Path(__file__).parents[2] / "golden"
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PARTS = {"flownetc": 2e-5, "flownets_1": 2e-5, "flownets_2": 2e-5, "flownets_d": 2e-3}  # its values reach 100


@pytest.fixture(scope="module")
def flownet2() -> FlowNet2:
    with torch.device("meta"):
        network = FlowNet2()
    network = network.to_empty(device="cpu").requires_grad_(False)
    fill(network)
    assert wrong_checksums("FlowNet2", network.state_dict().items()) == []
    return network


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def random_frames(height: int, width: int) -> tuple[Tensor, Tensor]:
    frames = 255 * torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return frames[0], frames[1]


def test_parameters_have_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        state = FlowNet2().state_dict()
    described = {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in state.items()}
    published = json.loads((GOLDEN / "FlowNet2.json").read_text())
    assert described == published
    assert list(described) == list(published)  # optimizers know parameters by their order


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", ["64x128_b2", "128x192"])
def test_flow_matches_the_stored_numbers(flownet2: FlowNet2, size: str, layout: torch.memory_format) -> None:
    golden = load(f"flownet2_{size}.npz")
    flownet2.to(memory_format=layout)
    seen = {}
    hooks = [
        flownet2.get_submodule(part).register_forward_hook(
            lambda _module, _inputs, flows, part=part: seen.update({part: flows[0]})
        )
        for part in PARTS
    ]
    flow = flownet2(*golden["images"].unbind(2))
    flownet2.to(memory_format=torch.contiguous_format)
    for hook in hooks:
        hook.remove()
    for part, tolerance in PARTS.items():  # convolutions sum in another order on every machine
        torch.testing.assert_close(seen[part], golden[f"{part}_flow2"], atol=tolerance, rtol=0)
    torch.testing.assert_close(flow, golden["flow"], atol=5e-4, rtol=0)


@pytest.mark.parametrize(
    ("part", "given", "tolerances"),
    [
        ("flownetc", "flownetc_in", [2e-5] * 5),
        ("flownets_1", "flownets_1_in", [2e-5] * 5),
        ("flownets_d", "flownetc_in", [2e-3] + [2e-5] * 4),
    ],
)
def test_parts_match_the_stored_numbers_at_every_level(
    flownet2: FlowNet2, part: str, given: str, tolerances: list[float]
) -> None:
    golden = load("flownet2_parts_64x128.npz")
    flows = flownet2.get_submodule(part)(golden[given])
    for level, (flow, tolerance) in enumerate(zip(flows, tolerances, strict=True), start=2):
        torch.testing.assert_close(flow, golden[f"{part}_flow{level}"], atol=tolerance, rtol=0)


def test_fusion_matches_the_stored_numbers(flownet2: FlowNet2) -> None:
    golden = load("flownet2_parts_64x128.npz")
    flow = flownet2.flownetfusion(golden["flownetfusion_in"])
    torch.testing.assert_close(flow, golden["flownetfusion_flow0"], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (50, 65), (64, 64)])
def test_frames_may_have_any_size_and_brightness(flownet2: FlowNet2, height: int, width: int) -> None:
    first, second = random_frames(height, width)
    flow = flownet2(first, second)
    assert flow.shape == (1, 2, height, width)
    brighter = flownet2(first + 1000, second + 1000)  # also where frames are padded, nothing but differences count
    torch.testing.assert_close(brighter, flow, atol=0.02, rtol=0)  # float32 at 1000 has steps of 6e-5


@pytest.mark.parametrize("levels", ["grey_levels", "normalised"])
def test_flow_of_frames_resized_as_in_the_code_of_etc_matches_the_stored_numbers(
    flownet2: FlowNet2, levels: str
) -> None:
    """Frames are shrunk to whole strides, the flow is enlarged and its values left alone; and some are normalised."""
    golden = load("flownet2_odd_size.npz")
    frames = [golden[f"{name}_uint8"].float() for name in ("first", "second")]
    if levels == "normalised":  # 57 times as faint as what the network was trained on
        mean, std = (255 * torch.tensor(values).view(3, 1, 1) for values in (RGB_MEAN, RGB_STD))
        frames = [(frame - mean) / std for frame in frames]
    size = frames[0].shape[-2:]
    shrunk = [resized(frame, [length // 64 * 64 for length in size]) for frame in frames]
    flow = resized(flownet2(*shrunk), size)
    torch.testing.assert_close(flow, golden[f"flow_{levels}"], atol=5e-4, rtol=0)


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(images, tuple(size), mode="bilinear", align_corners=True)


def test_padding_repeats_the_right_and_the_bottom_border() -> None:
    image = torch.rand(1, 6, 50, 65)
    padded = pad_to_stride(image)
    assert padded.shape == (1, 6, 64, 128)
    assert torch.equal(padded[..., :50, :65], image)
    assert torch.equal(padded[..., :50, 65:], image[..., -1:].expand(1, 6, 50, 63))
    assert torch.equal(padded[..., 50:, :65], image[..., -1:, :].expand(1, 6, 14, 65))
    assert pad_to_stride(padded).shape == padded.shape


def test_means_of_each_sample_and_colour_over_both_frames_are_subtracted() -> None:
    frames = 255 * torch.rand(2, 3, 2, 5, 7)
    means = frames.flatten(2).mean(2).view(2, 3, 1, 1, 1)
    torch.testing.assert_close(255 * normalized(frames) + means, frames, atol=1e-4, rtol=0)


def test_whole_numbers_are_taken_as_they_are(flownet2: FlowNet2) -> None:
    first, second = (frame.to(torch.uint8) for frame in random_frames(64, 64))
    assert torch.equal(flownet2(first, second), flownet2(first.float(), second.float()))


@pytest.mark.parametrize("shape", [(1, 3, 64, 65), (1, 1, 64, 64), (3, 64, 64)])
def test_frames_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network, other = FlowNet2(), torch.zeros(1, 3, 64, 64)
        frame = torch.zeros(shape)
    message = r"takes two \[B,3,H,W\] frames of one size, found \[" + str(shape[0])
    with pytest.raises(ValueError, match=message):
        network(frame, frame if shape != (1, 3, 64, 65) else other)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_frames_that_hold_no_numbers_are_refused(flownet2: FlowNet2, value: float) -> None:
    first, second = random_frames(64, 64)
    second[0, 1, 2, 3] = value
    text = r"1 of 12288 values of a \[1, 3, 64, 64\] input are NaN or infinite"
    with pytest.raises(ValueError, match=text):
        flownet2(first, second)


def test_the_network_compiles_without_a_break(flownet2: FlowNet2) -> None:
    torch.compiler.reset()
    first, second = random_frames(40, 70)
    compiled = torch.compile(flownet2, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(first, second), flownet2(first, second))
