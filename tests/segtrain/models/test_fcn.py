"""FCN-8s: the published layers, sizes and work, the fusion of scores to stored numbers, and what it trains."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers.networks import narrow_fcn
from torch import Tensor, nn

from segtrain.checkpoints import Checkpoint, load_trunk_weights
from segtrain.models.fcn import crop, enlarge, foreign_names, fuse
from segtrain.models.network import SegmentationNetwork, run_stages
from segtrain.models.registry import build_network

GOLDEN = Path(__file__).parents[2] / "golden" / "clockwork_fusion.npz"
CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}
CONVOLUTIONS = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    torch.manual_seed(0)
    with narrow_fcn():
        return build_network("fcn8s", num_classes=3).eval()


def on_meta(**settings: int) -> SegmentationNetwork:
    with torch.device("meta"):
        return build_network("fcn8s", **settings).eval()


def test_parameters_are_the_published_ones() -> None:
    expected, before = {}, 3
    for block, number in CONVOLUTIONS.items():
        for layer in range(1, number + 1):
            expected[f"conv{block}_{layer}"] = (CHANNELS[block], before, 3, 3)
            before = CHANNELS[block]
    expected |= {"fc6": (4096, 512, 7, 7), "fc7": (4096, 4096, 1, 1)}
    expected |= {name: (21, before, 1, 1) for name, before in (("score_fr", 4096), ("score_pool3", 256))}
    expected |= {"score_pool4": (21, 512, 1, 1)}
    state = {name: tuple(tensor.shape) for name, tensor in on_meta(num_classes=21).state_dict().items()}
    weights = {f"{name}.weight": shape for name, shape in expected.items()}
    assert state == weights | {f"{name}.bias": shape[:1] for name, shape in expected.items()}


@pytest.mark.parametrize("size", [(500, 500), (1024, 2048), (48, 64), (61, 75), (1, 1)])
def test_sizes_are_those_of_the_published_network(size: tuple[int, int]) -> None:
    network = on_meta(num_classes=21)
    found = run_stages(network.stages, torch.empty(1, 3, *size, device="meta"))
    for axis, pixels in enumerate(size, start=2):
        pooled = [pixels + 198]
        for _ in range(5):
            pooled.append(-(-pooled[-1] // 2))
        sizes = {name: tensor.shape[axis] for name, tensor in found.items()}
        assert (sizes["pool3"], sizes["score_pool3"]) == (pooled[3], pooled[3])
        assert (sizes["pool4"], sizes["score_pool4"]) == (pooled[4], pooled[4])
        assert sizes["context"] == 2 * (pooled[5] - 6) + 2
        assert sizes["logits"] == pixels


@pytest.mark.parametrize(
    ("size", "billions", "shares"),
    [((500, 500), 181, (50.3, 25.3, 24.5)), ((1024, 2048), 1098, (46.6, 23.1, 30.3))],
)
def test_the_deepest_stage_is_not_the_most_work(
    size: tuple[int, int], billions: int, shares: tuple[float, float, float]
) -> None:
    network, macs, stage_of = on_meta(num_classes=21), dict.fromkeys(("pool3", "pool4", "context"), 0), ["pool3"]

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        macs[stage_of[0]] += output[0].numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    found = {"image": torch.empty(1, 3, *size, device="meta")}
    for stage in network.stages:
        stage_of[0] = stage.name if stage.name in macs else stage_of[0]
        found[stage.name] = stage.run(*(found[name] for name in stage.reads))
    total = sum(macs.values())
    assert total / 1e9 == pytest.approx(billions, abs=1)
    assert [100 * each / total for each in macs.values()] == pytest.approx(shares, abs=0.06)


@pytest.mark.parametrize("tag", ["a", "b"])
@pytest.mark.parametrize(
    ("fused", "frames"), [("full_t3", (3, 3, 3)), ("clockwork_t3_from_t2", (3, 3, 2)), ("pipeline3_t3", (3, 2, 1))]
)
def test_fused_scores_match_the_stored_numbers(
    tag: str, fused: str, frames: tuple[int, int, int], stored: dict[str, Tensor]
) -> None:
    expected = stored[f"{tag}_{fused}"]
    pool3, pool4, deepest = (
        stored[f"{tag}_{name}"][[frame]].float()
        for name, frame in zip(("score_pool3", "score_pool4", "score_fr"), frames, strict=True)
    )
    found = fuse(pool3, pool4, enlarge(deepest, 2), torch.empty(expected.shape))
    np.testing.assert_allclose(found[0], expected, atol=1e-5, rtol=0)
    alone = enlarge(stored[f"{tag}_score_fr"][:1].float(), 2)
    np.testing.assert_allclose(alone[0], stored[f"{tag}_upscore2_t0"], atol=1e-5, rtol=0)


def test_scores_that_are_the_same_everywhere_stay_so_where_they_are_enlarged() -> None:
    """But at the border, where they fall to 0."""
    enlarged = enlarge(torch.ones(1, 2, 4, 5), 8)
    assert enlarged.shape == (1, 2, 40, 48)
    torch.testing.assert_close(enlarged[..., 8:-8, 8:-8], torch.ones(1, 2, 24, 32))
    assert enlarged[..., 0, 0].max() < 0.01


def test_a_crop_has_the_size_that_it_is_told_of() -> None:
    rows = torch.arange(12.0).view(1, 1, 12, 1)
    assert crop(rows.expand(-1, -1, -1, 12), 5, torch.empty(4, 1))[0, 0].flatten().tolist() == [5, 6, 7, 8]


def test_it_has_one_output_stride() -> None:
    with pytest.raises(ValueError, match="output_stride must be 8, found 16"):
        build_network("fcn8s", output_stride=16)


def test_a_trunk_is_taken_from_the_usual_file_of_the_classifier() -> None:
    """By the numbers of layers in one chain, as torchvision counts them."""
    layers: list[nn.Module] = []
    before = 3
    for block, number in CONVOLUTIONS.items():
        for _ in range(number):
            layers += [nn.Conv2d(before, CHANNELS[block], 3), nn.ReLU()]
            before = CHANNELS[block]
        layers.append(nn.MaxPool2d(2))
    published = nn.Sequential(*layers).state_dict(prefix="features.")
    published["classifier.0.bias"] = torch.zeros(4096)
    assert list(foreign_names()) == list(dict.fromkeys(name.rpartition(".")[0] for name in published))[:-1]
    network = build_network("fcn8s", num_classes=1)
    checkpoint = Checkpoint(path=Path("vgg16.pth"), tensors=published, fields={}, description=None)
    assert load_trunk_weights(network, checkpoint) == ["classifier.0.bias"]
    assert torch.equal(network.conv1_1.weight, published["features.0.weight"])
    assert torch.equal(network.conv5_3.bias, published["features.28.bias"])


def test_it_begins_so_that_scores_keep_their_size(network: SegmentationNetwork) -> None:
    assert network.conv4_2.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert network.fc7.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert network.score_pool3.bias.abs().max() == 0


def test_every_layer_learns_and_recomputed_activations_change_nothing(network: SegmentationNetwork) -> None:
    images = torch.randn(1, 3, 33, 47, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(3, (1, 33, 47), generator=torch.Generator().manual_seed(2))
    gradients: list[dict[str, Tensor]] = []
    network.train()
    for recompute in (False, True):
        network.checkpoint_activations = recompute
        network.zero_grad()
        torch.manual_seed(3)  # what is dropped
        F.cross_entropy(network(images), labels).backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in network.named_parameters()})
    network.eval()
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        assert torch.equal(gradient, gradients[1][name]), name
