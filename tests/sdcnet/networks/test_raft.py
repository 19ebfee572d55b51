"""RAFT: the published parameters' names and shapes, the published networks' numbers, both lookups, any size."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.fill import CHECKSUMS, wrong_checksums
from helpers.networks import filled_raft
from torch import Tensor, nn

from sdcnet.geometry import pixel_grid
from sdcnet.networks import raft_lookup
from sdcnet.networks.raft import NUM_UPDATES, RAFT, padding, upsample, upsample_convex
from sdcnet.networks.raft_layers import VARIANTS
from sdcnet.networks.raft_lookup import VolumeLookup, WindowLookup, correlation_lookup, pyramid, volume_bytes

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = [("large", "128x160"), ("large", "131x197"), ("small", "128x160")]
FLOW_TOLERANCES = {1: 5e-5, 4: 1e-4, 12: 2e-4}  # pixels: errors of rounding grow with the updates


@pytest.fixture(scope="module")
def networks() -> dict[str, RAFT]:
    return {variant: filled_raft(variant) for variant in VARIANTS}


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def at(positions_yx: Tensor, values: Tensor) -> Tensor:
    """[B,C,h,w] -> [B,C,N]."""
    y, x = positions_yx.long().unbind(1)
    return values[..., y, x]


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_have_the_published_names_and_shapes(networks: dict[str, RAFT], variant: str) -> None:
    state = networks[variant].state_dict()
    described = {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in state.items()}
    published = json.loads((GOLDEN / f"RAFT_{variant}.json").read_text())
    assert described == published["entries"]
    assert list(described) == list(published["entries"])  # optimizers know parameters by their order
    assert sum(parameter.numel() for parameter in networks[variant].parameters()) == published["total_parameters"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fill_is_that_of_the_stored_numbers(networks: dict[str, RAFT], variant: str) -> None:
    state = networks[variant].state_dict()
    scaled = "update_block.flow_head.conv2.weight"
    before = {**state, scaled: state[scaled] / 0.125}
    assert wrong_checksums(f"raft_{variant}", before.items()) == []
    after = json.loads(CHECKSUMS.read_text())[f"raft_{variant}"]["after_scaling"]
    assert wrong_checksums(f"raft_{variant}", state.items()) == [scaled, "all"]
    assert crc32(state[scaled]) == after[scaled]


def crc32(tensor: Tensor) -> int:
    return zlib.crc32(tensor.numpy().tobytes())


class Seen:
    """What passes through the parts of a network, update by update."""

    def __init__(self, network: RAFT) -> None:
        self.calls: dict[str, list[tuple[Any, Any]]] = {}
        names = ["feature_encoder", "context_encoder", "update_block", "mask_predictor"]
        parts = {name: getattr(network, name) for name in names if getattr(network, name) is not None}
        self.hooks = [part.register_forward_hook(self._hook(name)) for name, part in parts.items()]

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def remember(_: nn.Module, inputs: Any, outputs: Any) -> None:
            self.calls.setdefault(name, []).append((inputs, outputs))

        return remember


@pytest.mark.parametrize(("variant", "size"), CASES)
def test_every_part_matches_the_stored_numbers(networks: dict[str, RAFT], variant: str, size: str) -> None:
    golden, network = load(f"raft_{variant}_{size}.npz"), networks[variant]
    seen = Seen(network)
    flow = network(golden["image1"], golden["image2"])
    short = {num: network(golden["image1"], golden["image2"], num) for num in (1, 4) if f"flow_{num}" in golden}
    for hook in seen.hooks:
        hook.remove()
    where = golden["positions_yx"]
    assert list(padding(*golden["image1"].shape[-2:])) == golden["pad_lrtb"].tolist()

    (_, maps), (_, context) = seen.calls["feature_encoder"][0], seen.calls["context_encoder"][0]
    for name, features in zip(("fmap1", "fmap2"), maps.split(1), strict=True):
        close(at(where, features), golden[f"{name}_at"], 2e-4)
    close(at(where, context), golden["context_at"], 5e-5)
    for num in FLOW_TOLERANCES:
        (_, products, before, _), (hidden, correction) = seen.calls["update_block"][num - 1]
        close(at(where, before + pixel_grid(*before.shape[-2:])), golden[f"coords_at_{num}"], 3e-5)
        close(at(where, products), golden[f"corr_at_{num}"], 2e-3)  # its values reach 200
        close(at(where, hidden), golden[f"hidden_at_{num}"], 2e-4)
        close(before + correction, golden[f"flow_low_{num}"], 3e-5)
    for num, found in {**short, NUM_UPDATES: flow}.items():
        close(found, golden[f"flow_{num}"], FLOW_TOLERANCES[num])
    if "mask_at_1" in golden:
        once = Seen(network)
        network(golden["image1"], golden["image2"], 1)
        for hook in once.hooks:
            hook.remove()
        ((_, mask),) = once.calls["mask_predictor"]
        close(at(where, mask), golden["mask_at_1"], 5e-5)


def test_the_mask_is_made_once_after_the_last_update(networks: dict[str, RAFT]) -> None:
    frames = random_frames(128, 128)
    seen = Seen(networks["large"])
    networks["large"](frames, frames, 3)
    for hook in seen.hooks:
        hook.remove()
    counts = {name: len(calls) for name, calls in seen.calls.items()}
    assert counts == {"feature_encoder": 1, "context_encoder": 1, "update_block": 3, "mask_predictor": 1}
    assert seen.calls["mask_predictor"][0][0][0] is seen.calls["update_block"][-1][1][0]


@pytest.mark.parametrize("kind", [VolumeLookup, WindowLookup])
@pytest.mark.parametrize("radius", [3, 4])
def test_lookups_match_the_stored_numbers(kind: type[raft_lookup.Lookup], radius: int) -> None:
    golden = load("raft_ops.npz")
    found = kind(golden["fmap1"], pyramid(golden["fmap2"]), radius)(golden["coords"])
    close(at(golden["positions_yx"], found), golden[f"lookup_r{radius}"], 2e-5)


def test_upsampling_matches_the_stored_numbers() -> None:
    golden = load("raft_ops.npz")
    close(upsample_convex(golden["up_flow"], golden["up_mask"]), golden["up_convex"], 2e-5)
    close(upsample(golden["up_flow"]), golden["up_bilinear"], 2e-5)


def random_frames(height: int, width: int, num: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("widest", [0, 4, 1000])
def test_both_lookups_are_the_same(widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_lookup, "WIDEST_BAND", widest)  # of windows alone, of both, of bands alone
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 2, 32, 17, 25, generator=generator)
    centres = pixel_grid(17, 25) + 40 * torch.rand(2, 1, 17, 1, generator=generator) * torch.randn(
        2, 2, 17, 25, generator=generator
    )
    centres[:, :, 0, 0] = torch.tensor(1e9)
    volume, windows = (kind(first, pyramid(second), 4)(centres) for kind in (VolumeLookup, WindowLookup))
    assert volume.abs().max() > 1
    close(windows, volume, 5e-6)
    assert not volume[:, :, 0, 0].any()


def test_gradients_pass_both_lookups() -> None:
    gradients = []
    for kind in (VolumeLookup, WindowLookup):
        generator = torch.Generator().manual_seed(2)
        features = torch.randn(2, 1, 8, 16, 16, generator=generator).requires_grad_()
        centres = pixel_grid(16, 16) + 3 * torch.randn(1, 2, 16, 16, generator=generator)
        kind(features[0], pyramid(features[1]), 3)(centres).square().sum().backward()
        gradients.append(features.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


def test_a_volume_is_made_only_where_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert round(volume_bytes(64, 128) / 1e6) == 357  # frames of 512x1024
    assert round(volume_bytes(128, 256) / 1e8) == 57  # and of 1024x2048
    assert volume_bytes(64, 128) < raft_lookup.VOLUME_BYTES < volume_bytes(128, 256)
    features = torch.zeros(1, 4, 17, 25)
    for limit, kind in ((volume_bytes(17, 25), VolumeLookup), (volume_bytes(17, 25) - 1, WindowLookup)):
        monkeypatch.setattr(raft_lookup, "VOLUME_BYTES", limit)
        assert type(correlation_lookup(features, features, 4)) is kind
    lookup = VolumeLookup(features, pyramid(features), 4)
    assert sum(volume.nbytes for volume in lookup._volumes) == volume_bytes(17, 25)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_flow_without_a_volume_is_the_same(
    networks: dict[str, RAFT], variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = load(f"raft_{variant}_128x160.npz")
    monkeypatch.setattr(raft_lookup, "VOLUME_BYTES", 0)
    close(networks[variant](golden["image1"], golden["image2"], 4), golden["flow_4"], FLOW_TOLERANCES[4])


@pytest.mark.parametrize(("variant", "mean", "most"), [("large", 0.02, 0.1), ("small", 0.06, 0.4)])
def test_bfloat16_moves_the_flow_little(networks: dict[str, RAFT], variant: str, mean: float, most: float) -> None:
    golden = load(f"raft_{variant}_128x160.npz")
    with torch.autocast("cpu", torch.bfloat16):
        flow = networks[variant](golden["image1"], golden["image2"], 4)
    assert flow.dtype == torch.float32
    difference = (flow - golden["flow_4"]).abs()  # on one machine 0.009 and 0.04 px, or 0.030 and 0.17
    assert 1e-3 < difference.mean() < mean
    assert difference.max() < most


@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_together_are_the_network(networks: dict[str, RAFT], variant: str) -> None:
    network, frames = networks[variant], random_frames(130, 128, num=3)
    features = network.features(frames)
    alone = network.flow_from_features(frames[:2], features[:2], features[1:], 2)
    close(alone, network(frames[:2], frames[1:], 2), 2e-4)
    padded = network.flow(features[:2], features[1:], network.context(frames[:2]), 2)
    assert padded.shape == (2, 2, 136, 128)
    assert torch.equal(padded[..., 3:133, :], alone)


@pytest.mark.parametrize("size", [(1, 1), (50, 65), (128, 129)])
def test_frames_may_have_any_size(networks: dict[str, RAFT], size: tuple[int, int]) -> None:
    frames = random_frames(*size, num=2)
    flow = networks["small"](frames[:1], frames[1:], 1)
    assert flow.shape == (1, 2, *size)
    assert torch.equal(networks["small"](frames[:1].float(), frames[1:].float(), 1), flow)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((128, 160), (0, 0, 0, 0)), ((131, 197), (1, 2, 2, 3)), ((1, 136), (0, 0, 63, 64)), ((130, 100), (14, 14, 3, 3))],
)
def test_padding_is_on_all_sides(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert padding(*size) == expected


def test_what_is_no_pair_of_frames_is_refused(networks: dict[str, RAFT]) -> None:
    frame, network = torch.zeros(1, 3, 128, 128), networks["small"]
    with pytest.raises(
        ValueError, match=r"takes two frames of one size, found \[1, 3, 128, 128\] and \[1, 3, 128, 127\]"
    ):
        network(frame, frame[..., 1:])
    with pytest.raises(ValueError, match=r"takes frames \[B,3,H,W\], found \[2, 1, 128, 128\]"):
        network(frame[:, :1], frame[:, :1])
    with pytest.raises(ValueError, match="num_updates must be at least 1, found 0"):
        network(frame, frame, 0)
    with pytest.raises(ValueError, match="are NaN or infinite"):
        network(frame, frame + torch.nan)
    with pytest.raises(ValueError, match="variant must be one of large, small, found 'tiny'"):
        RAFT("tiny")


def test_the_network_compiles_without_a_break(networks: dict[str, RAFT]) -> None:
    torch.compiler.reset()
    frames = random_frames(128, 128, num=2)
    compiled = torch.compile(networks["small"], fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(frames[:1], frames[1:], 2), networks["small"](frames[:1], frames[1:], 2))
