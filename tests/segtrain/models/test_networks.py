"""All networks: images of any size, cut points, output strides, memory layouts, recomputation, compilation."""

import copy

import pytest
import torch
from helpers.networks import narrow_fcn
from torch import Tensor, nn

from segtrain.models.deeplab import ASPP
from segtrain.models.network import SegmentationNetwork, run_stages, upsample
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import NETWORKS, build_network
from segtrain.models.trunk import strides_and_dilations

LIGHT = ("resnet18", "mobilenetv2", "pspnet18")
STRIDES = [(name, stride) for name in NETWORKS for stride in NETWORKS[name].output_strides]


def seeded(name: str, **settings: int | bool) -> SegmentationNetwork:
    torch.manual_seed(0)
    settings = {"output_stride": NETWORKS[name].output_strides[0], **settings}
    with narrow_fcn():
        return build_network(name, num_classes=5, **settings)


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


@pytest.mark.parametrize(("name", "output_stride"), [each for each in STRIDES if each[0] != "fcn8s"])
def test_features_have_the_output_stride(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        network = build_network(name, num_classes=2, output_stride=output_stride).eval()
        images = torch.empty(1, 3, 128, 64)
        found = run_stages(network.stages, images)
        assert network(images).shape == (1, 2, 128, 64)
    skip, features = found[network.cuts[0]], found[network.stage_names[-1]]
    skip_stride = {"deepwv3plus": 2, "pspnet18": 8, "pspnet101": 8, "pspnet-mobilenetv2": 8}.get(name, 4)
    assert features.shape[-2:] == (128 // output_stride, 64 // output_stride)
    assert skip.shape[-2:] == (128 // skip_stride, 64 // skip_stride)


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_on_their_own_compose_to_the_network_bit_for_bit(name: str) -> None:
    network, images = seeded(name), random_images(2, 3, 41, 50)
    for train in (True, False):
        network.train(train)
        with torch.no_grad():
            torch.manual_seed(2)  # what is dropped
            expected = network(images)
            torch.manual_seed(2)
            kept = {"image": images}
            for stage in network.stages:  # from copies: nothing passes from one to another but what they say
                kept[stage.name] = stage.run(*(kept[each].clone() for each in stage.reads)).clone()
        assert torch.equal(kept["logits"], expected)
        names = ["image", *(stage.name for stage in network.stages)]
        assert list(kept) == names
        assert names[-2:] == ["decoder", "logits"]
        assert set(network.cuts) < set(names[1 : names.index("context")])
        assert list(network.cuts) == sorted(network.cuts, key=names.index)
        size_alone = torch.full_like(images, torch.nan)
        assert torch.equal(network.stages[-1].run(kept["decoder"], size_alone), expected)


@pytest.mark.parametrize("name", LIGHT)
def test_outputs_are_the_networks_with_its_features_and_auxiliary_logits(name: str) -> None:
    network, images = seeded(name).eval(), random_images(1, 3, 41, 50)
    with torch.inference_mode():
        logits, auxiliary, features = network.outputs(images, features=("decoder", "layer4"))
        found = run_stages(network.stages, images)
        assert torch.equal(logits, network(images))
    assert list(features) == ["decoder", "layer4"]
    assert all(torch.equal(tensor, found[stage]) for stage, tensor in features.items())
    shapes = {head: tuple(tensor.shape) for head, tensor in auxiliary.items()}
    assert shapes == ({"aux": (1, 5, 6, 7)} if name == "pspnet18" else {})
    with pytest.raises(ValueError, match=r"no stage 'contexts'; known are layer0, layer1, .*; did you mean 'context'"):
        network.outputs(images, features=("layer4", "contexts"))


def test_auxiliary_heads_do_not_run_where_only_the_logits_are_wanted() -> None:
    network = seeded("pspnet18").train()
    network(random_images(2, 3, 33, 33))
    assert (int(network.aux[1].num_batches_tracked), int(network.cls[1].num_batches_tracked)) == (0, 1)
    network.outputs(random_images(2, 3, 33, 33))
    assert (int(network.aux[1].num_batches_tracked), int(network.cls[1].num_batches_tracked)) == (1, 2)


@pytest.mark.parametrize(("name", "output_stride"), STRIDES)
def test_a_network_says_which_parameters_depend_on_the_classes_and_how_to_make_another(
    name: str, output_stride: int
) -> None:
    with torch.device("meta"):
        few, many = (build_network(name, num_classes=number, output_stride=output_stride) for number in (2, 3))
        again = build_network(few.architecture, **few.settings)
    shapes, others, same = (
        {entry: tensor.shape for entry, tensor in each.state_dict().items()} for each in (few, many, again)
    )
    assert few.head == {entry for entry, shape in shapes.items() if others[entry] != shape}
    assert same == shapes
    assert (again.architecture, again.num_classes, again.output_stride) == (name, 2, output_stride)


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
        torch.manual_seed(2)  # what is dropped
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: (sizes.update({tensor.data_ptr(): tensor.numel()}), tensor)[1],
            lambda saved: saved,
        ):
            output = network.outputs(images)
            loss = sum(logits.square().mean() for logits in (output.logits, *output.auxiliary.values()))
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


def test_outputs_compile_to_one_graph() -> None:
    network = seeded("pspnet18").eval()
    images = random_images(1, 3, 33, 47)
    torch._dynamo.reset()
    compiled = torch.compile(network.outputs, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        found, expected = compiled(images, features=("context",)), network.outputs(images, features=("context",))
    assert found._asdict().keys() == {"logits", "auxiliary", "features"}
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


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
        (
            {"name": "deepwv4"},
            "no network 'deepwv4'; known are deepwv3plus, .*, mobilenetv2, .*; did you mean 'deepwv3plus'",
        ),
        ({"name": "resnet18", "output_stride": 32}, "output_stride must be 8 or 16, found 32"),
        ({"name": "resnet18", "num_classes": 0}, "num_classes must be positive, found 0"),
    ],
)
def test_what_there_is_not_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(**settings)


def test_images_are_normalised_by_the_statistics_of_imagenet() -> None:
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
    torch.testing.assert_close(normalised(grey), torch.zeros(1, 3, 1, 1), atol=1e-6, rtol=0)
    white = normalised(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert white.dtype == torch.float32
