"""DeepLabV3+ on any trunk: images of any size, output strides, memory layouts, recomputation, compilation."""

import copy

import pytest
import torch
from torch import Tensor, nn

from segtrain.models import ARCHITECTURES, build_model
from segtrain.models.deeplab import ASPP, DeepLabV3Plus, upsample
from segtrain.models.preprocessing import normalised
from segtrain.models.trunk import strides_and_dilations

LIGHT = ("resnet18", "mobilenetv2")


def seeded(name: str, **settings: int | bool) -> DeepLabV3Plus:
    torch.manual_seed(0)
    return build_model(name, num_classes=5, **settings)


def random_images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 128)])
def test_logits_have_the_size_of_the_images(name: str, output_stride: int, size: tuple[int, int]) -> None:
    network = seeded(name, output_stride=output_stride).eval()
    with torch.inference_mode():
        logits = network(random_images(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_features_have_the_output_stride(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        network = build_model(name, num_classes=2, output_stride=output_stride).eval()
        images = torch.empty(1, 3, 128, 64)
        skip, features = network.encode(images)
        assert network(images).shape == (1, 2, 128, 64)
    skip_stride = 2 if name == "deepwv3plus" else 4
    assert features.shape[-2:] == (128 // output_stride, 64 // output_stride)
    assert skip.shape[-2:] == (128 // skip_stride, 64 // skip_stride)


def test_rates_of_the_pyramid_follow_the_output_stride() -> None:
    for output_stride, rates in ((8, [1, 12, 24, 36]), (16, [1, 6, 12, 18])):
        branches = seeded("resnet18", output_stride=output_stride).aspp.features
        assert [branch[0].dilation[0] for branch in branches] == rates


def test_strides_become_dilations_beyond_the_output_stride() -> None:
    assert strides_and_dilations(4, (1, 2, 2, 2), 32) == [(1, 1), (2, 1), (2, 1), (2, 1)]
    assert strides_and_dilations(4, (1, 2, 2, 2), 16) == [(1, 1), (2, 1), (2, 1), (1, 2)]
    assert strides_and_dilations(4, (1, 2, 2, 2), 8) == [(1, 1), (2, 1), (1, 2), (1, 4)]
    assert strides_and_dilations(4, (1, 1, 2, 2, 2, 1), 8) == [(1, 1), (1, 1), (2, 1), (1, 2), (1, 4), (1, 4)]


def test_upsampling_keeps_the_corners() -> None:
    features = random_images(1, 2, 3, 4)
    large = upsample(features, (7, 9))
    torch.testing.assert_close(large[..., ::6, ::8], features[..., ::2, ::3])


def test_the_mean_of_the_image_comes_first_and_is_the_same_everywhere() -> None:
    pyramid = ASPP(3, 4, (2, 3)).eval()
    output = pyramid(random_images(1, 3, 6, 5))
    assert output.shape == (1, pyramid.out_channels, 6, 5) == (1, 16, 6, 5)
    assert torch.equal(output[:, :4], output[:, :4, :1, :1].expand(-1, -1, 6, 5))
    assert not torch.equal(output[:, 4:8], output[:, 4:8, :1, :1].expand(-1, -1, 6, 5))


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("trained", [True, False])
def test_recomputed_activations_change_nothing(name: str, trained: bool) -> None:
    kept = seeded(name).train()
    if not trained:  # frozen batch norm
        for layer in kept.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
    recomputed = copy.deepcopy(kept)
    recomputed.checkpoint_activations = True
    images = random_images(2, 3, 33, 47)
    saved: list[int] = []
    for network in (kept, recomputed):
        sizes: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: (sizes.update({tensor.data_ptr(): tensor.numel()}), tensor)[1],
            lambda saved: saved,
        ):
            loss = network(images).square().mean()
        loss.backward()
        saved.append(sum(sizes.values()))
    assert saved[1] < 0.9 * saved[0]
    state = recomputed.state_dict()
    assert all(torch.equal(tensor, state[entry]) for entry, tensor in kept.state_dict().items())
    pairs = zip(kept.parameters(), recomputed.parameters(), strict=True)
    assert all(torch.equal(one.grad, other.grad) for one, other in pairs)
    assert {layer.momentum for layer in recomputed.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize("name", LIGHT)
def test_channels_last_changes_nothing(name: str) -> None:
    network = seeded(name).eval()
    images = random_images(1, 3, 40, 56)
    with torch.inference_mode():
        logits = network(images)
        again = network.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(again, logits, atol=1e-4, rtol=1e-4)


def test_the_network_compiles_to_one_graph() -> None:
    network = seeded("resnet18", checkpoint_activations=True)
    reference = copy.deepcopy(network)
    images = random_images(2, 3, 33, 47)
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    logits, expected = compiled(images), reference(images)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    logits.square().mean().backward()
    expected.square().mean().backward()
    for one, other in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(dict(network.named_buffers()), dict(reference.named_buffers()))
    with torch.inference_mode():
        network.eval(), reference.eval()
        torch.testing.assert_close(compiled(images), reference(images), atol=1e-4, rtol=1e-4)


def test_batch_norms_can_be_synchronised() -> None:
    network = nn.SyncBatchNorm.convert_sync_batchnorm(seeded("resnet18"))
    assert not [layer for layer in network.modules() if type(layer) is nn.BatchNorm2d]


def test_a_seed_decides_the_weights() -> None:
    one, other = seeded("resnet18").state_dict(), seeded("resnet18").state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    features = seeded("resnet50").layer3[2].conv2.weight  # 256 channels of 3x3
    assert features.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "deepwv4"}, "the network must be one of deepwv3plus, .*, mobilenetv2, found 'deepwv4'"),
        ({"name": "resnet18", "output_stride": 32}, "output_stride must be 8 or 16, found 32"),
        ({"name": "resnet18", "num_classes": 0}, "num_classes must be positive, found 0"),
    ],
)
def test_what_there_is_not_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(**settings)


def test_images_are_normalised_by_the_statistics_of_imagenet() -> None:
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
    torch.testing.assert_close(normalised(grey), torch.zeros(1, 3, 1, 1), atol=1e-6, rtol=0)
    white = normalised(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert white.dtype == torch.float32
