"""Files of segmentation networks: published ones and ours come back as they were; what does not fit is named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.classes import named_classes
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from jobs.errors import CheckpointError, ParameterError
from segtrain.checkpoints import (
    Checkpoint,
    load_network,
    load_trunk_weights,
    load_weights,
    read_checkpoint,
    save_network,
)
from segtrain.models.network import SegmentationNetwork
from segtrain.models.registry import build_network

GOLDEN = Path(__file__).parents[1] / "golden"
CLASSES = ("road", "car", "sky")
HEAD = "final.6.weight"


def small(name: str = "mobilenetv2", *, num_classes: int = 3, seed: int = 0) -> SegmentationNetwork:
    torch.manual_seed(seed)
    network = build_network(name, num_classes=num_classes, output_stride=16)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.num_batches_tracked.fill_(7)
    return network


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, tensor in found.items() if not torch.equal(tensor, expected[name])] == []


def checkpoint_of(tensors: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(path=Path("weights.pth"), tensors=tensors, fields={}, description=None)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    def save(content: object) -> Path:
        path = tmp_path / "weights.pth"
        torch.save(content, path)
        return path

    return save


@pytest.fixture
def published(saved: Callable[[object], Path]) -> Path:
    """A file as the published training writes it."""
    network = small(seed=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.randn(2, 3, 32, 32)).mean().backward()
    optimizer.step()
    return saved(
        {
            "state_dict": {f"module.{name}": tensor for name, tensor in small().state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "epoch": 174,
            "mean_iu": np.float64(0.8135),
            "command": "python train.py",
        }
    )


def test_published_file_fills_a_network(published: Path) -> None:
    network, checkpoint = small(seed=1), read_checkpoint(published)
    load_weights(network, checkpoint)
    assert_same(state_of(network), state_of(small()))
    assert checkpoint.fields == {"epoch": 174, "mean_iu": 0.8135, "command": "python train.py"}


def test_published_file_becomes_a_network_of_its_number_of_classes(published: Path) -> None:
    checkpoint = read_checkpoint(published)
    network = load_network(checkpoint, "mobilenetv2")
    assert_same(state_of(network), state_of(small()))
    assert (network.num_classes, network.output_stride, network.training) == (3, 8, False)
    with pytest.raises(
        CheckpointError, match=r"does not say which architecture it holds\. Say it, one of: deepwv3plus"
    ):
        load_network(checkpoint)
    with pytest.raises(ValueError, match=r"no network 'vgg'; known are deepwv3plus, .*, pspnet101"):
        load_network(checkpoint, "vgg")


def test_the_output_stride_of_a_file_that_does_not_say_it_is_the_least_there_is(tmp_path: Path) -> None:
    network = build_network("lateral-mobilenetv2", num_classes=3, output_stride=32)
    torch.save(network.state_dict(), tmp_path / "lateral.pth")
    assert load_network(read_checkpoint(tmp_path / "lateral.pth"), "lateral-mobilenetv2").output_stride == 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_ours_comes_back_as_it_was(tmp_path: Path, dtype: torch.dtype) -> None:
    network, path = small(), tmp_path / "ours.safetensors"
    save_network(path, network, classes=named_classes(CLASSES), about={"mean_iou": 0.5}, dtype=dtype)
    checkpoint = read_checkpoint(path)
    assert checkpoint.description is not None
    assert checkpoint.description.class_names == list(CLASSES)
    assert checkpoint.description.about == {"mean_iou": 0.5}
    loaded = load_network(checkpoint)
    assert (loaded.architecture, loaded.num_classes, loaded.output_stride) == ("mobilenetv2", 3, 16)
    parameters = {name for name, _ in network.named_parameters()}
    expected = {
        name: tensor.to(dtype).to(tensor.dtype) if name in parameters else tensor
        for name, tensor in state_of(network).items()
    }
    assert_same(state_of(loaded), expected)
    again = small(seed=1)
    load_weights(again, checkpoint)
    assert_same(state_of(again), expected)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.safetensors"]


def test_layout_in_memory_does_not_change_the_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    save_network(one, small(), classes=named_classes(CLASSES), about={"a": 1, "b": 2})
    network = small().to(memory_format=torch.channels_last)
    save_network(other, network, classes=named_classes(CLASSES), about={"b": 2, "a": 1})
    assert one.read_bytes() == other.read_bytes()


def test_every_class_needs_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="classes must have 3 that are trained, found 2"):
        save_network(tmp_path / "ours", small(), classes=named_classes(CLASSES[:2]), about={})
    assert list(tmp_path.iterdir()) == []


def test_a_file_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    save_network(tmp_path / "ours.safetensors", small(), classes=named_classes(CLASSES), about={})
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failed_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ours.safetensors"
    save_network(path, small(), classes=named_classes(CLASSES), about={})
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left on device.*Is there space"):
        save_network(path, small(seed=1), classes=named_classes(CLASSES), about={})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.safetensors"]


def test_another_number_of_classes_is_refused_unless_the_head_is_new(published: Path) -> None:
    network = small(num_classes=5, seed=1)
    before, checkpoint = state_of(network), read_checkpoint(published)
    with pytest.raises(CheckpointError, match=r"scores 3 classes, the network 5\. Ask for a new head \(--new-head\)"):
        load_weights(network, checkpoint)
    assert_same(state_of(network), before)
    load_weights(network, checkpoint, new_head=True)
    assert_same(state_of(network), {**state_of(small()), HEAD: before[HEAD]})


def test_a_new_head_is_new_even_where_the_old_one_would_fit(published: Path) -> None:
    network = small(seed=1)
    before = state_of(network)
    load_weights(network, read_checkpoint(published), new_head=True)
    assert torch.equal(network.state_dict()[HEAD], before[HEAD])


def test_ours_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    save_network(path, small(), classes=named_classes(CLASSES), about={})
    checkpoint, message = read_checkpoint(path), "says that it holds mobilenetv2, asked for was resnet18"
    with pytest.raises(CheckpointError, match=message):
        load_weights(small("resnet18"), checkpoint)
    with pytest.raises(CheckpointError, match=message):
        load_network(checkpoint, "resnet18")


def test_error_names_missing_unexpected_and_mismatched_parameters() -> None:
    network, tensors = small(seed=1), state_of(small())
    before = state_of(network)
    del tensors["bot_fine.weight"]
    tensors |= {"extra.bias": torch.zeros(2), "bot_aspp.weight": torch.zeros(3, 4)}
    for call in (
        lambda: load_weights(network, checkpoint_of(tensors)),
        lambda: load_network(checkpoint_of(tensors), "mobilenetv2"),
    ):
        with pytest.raises(
            ParameterError, match=r"^weights\.pth: its parameters are not those of .*Is it the right"
        ) as caught:
            call()
        assert caught.value.missing == ["bot_fine.weight"]
        assert caught.value.unexpected == ["extra.bias"]
        assert caught.value.mismatched == {"bot_aspp.weight": ("[3, 4]", "[128, 640, 1, 1]")}
    assert_same(state_of(network), before)


def test_file_without_a_head_is_refused() -> None:
    tensors = state_of(small())
    del tensors[HEAD]
    with pytest.raises(ParameterError, match=r"1 missing \(final\.6\.weight\)"):
        load_network(checkpoint_of(tensors), "mobilenetv2")
    with pytest.raises(ParameterError, match=r"1 missing \(final\.6\.weight\)"):
        load_weights(small(), checkpoint_of(tensors))


def test_weights_that_are_not_finite_are_refused() -> None:
    tensors = state_of(small())
    tensors["bot_fine.weight"][0, 0] = torch.nan
    with pytest.raises(CheckpointError, match=r"bot_fine\.weight holds values that are not finite"):
        load_weights(small(), checkpoint_of(tensors))


def test_file_from_before_batch_norms_counted_is_read() -> None:
    expected = state_of(small())
    old = {name: tensor for name, tensor in expected.items() if not name.endswith("num_batches_tracked")}
    expected |= {name: torch.tensor(0) for name in expected if name not in old}
    network = small(seed=1)
    load_weights(network, checkpoint_of(old))
    assert_same(state_of(network), expected)
    assert_same(state_of(load_network(checkpoint_of(old), "mobilenetv2")), expected)
    with pytest.raises(ParameterError, match="missing"):  # some but not all: that is damage
        load_weights(network, checkpoint_of({**old, "layer0.0.1.num_batches_tracked": torch.tensor(1)}))


def described(path: Path, **changes: object) -> Path:
    """One of our files with another description."""
    save_network(path, small(), classes=named_classes(CLASSES), about={})
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["segtrain"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={"segtrain": json.dumps({**description, **changes})})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "a file of version 2, this program reads version 1. Update the program"),
        ({"colour": 1}, "its description cannot be read"),
        ({"architecture": "vgg"}, "vgg with {.*}, which this program does not know how to do. Update the program"),
        ({"preprocessing": {"colour_order": "BGR"}}, "mobilenetv2 with {'colour_order': 'BGR'}, which this program"),
        ({"settings": {"num_classes": 3, "output_stride": 5}}, "are no network's .output_stride must be 8 or 16"),
        ({"settings": {"depth": 3}}, "are no network's"),
        ({"settings": {"num_classes": "3"}}, "are no network's"),
        ({"settings": [3]}, r"its description cannot be read \(TypeError\('settings is \[3\]'\)\)"),
        ({"class_names": [1, 2, 3]}, "its description cannot be read"),
        ({"class_names": ["road"]}, "names other classes than its class table has"),
        ({"class_names": ["road"], "classes": {}}, "names 1 classes, but scores 3"),
        ({"classes": {"name": "roads"}}, "its class table cannot be used: .*a class table needs name, ignore_id and"),
        ({"classes": []}, "its description cannot be read"),
    ],
)
def test_ours_with_a_description_that_does_not_fit_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_network(read_checkpoint(described(tmp_path / "ours.safetensors", **changes)))


def trunk_of(network: SegmentationNetwork) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state_of(network).items() if name.startswith("layer")}


def named_by_torchvision(name: str) -> dict[str, Tensor]:
    """The trunk of `small`, as torchvision's ImageNet classifiers name it, with a classifier."""
    trunk = trunk_of(small(name))
    if name == "resnet18":
        stem = {"layer0.0.": "conv1.", "layer0.1.": "bn1."}
        renamed = {stem.get(old[:9], old[:9]) + old[9:]: tensor for old, tensor in trunk.items()}
        return {**renamed, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    first_block = {"layer0": 0, "layer1": 2, "layer2": 4, "layer3": 7, "layer4": 14}
    renamed = {}
    for old, tensor in trunk.items():
        stage, block, rest = old.split(".", 2)
        renamed[f"features.{first_block[stage] + int(block)}.{rest}"] = tensor
    return {**renamed, "features.18.0.weight": torch.zeros(1280, 320, 1, 1), "classifier.1.bias": torch.zeros(1000)}


@pytest.mark.parametrize(
    ("name", "num_parameters", "some"),
    [
        ("resnet18", 11_176_512, {"conv1.weight": [64, 3, 7, 7], "layer2.0.downsample.0.weight": [128, 64, 1, 1]}),
        ("mobilenetv2", 1_811_712, {"features.0.0.weight": [32, 3, 3, 3], "features.17.conv.3.weight": [320]}),
        (
            "mobilenetv2",
            1_811_712,
            {"features.1.conv.1.weight": [16, 32, 1, 1], "features.2.conv.1.0.weight": [96, 1, 3, 3]},
        ),
    ],
)
def test_trunks_are_those_of_torchvision(name: str, num_parameters: int, some: dict[str, list[int]]) -> None:
    classifier = named_by_torchvision(name)
    assert {entry: list(classifier[entry].shape) for entry in some} == some
    names = {entry for entry, _ in small(name).named_parameters() if entry.startswith("layer")}
    assert sum(tensor.numel() for entry, tensor in trunk_of(small(name)).items() if entry in names) == num_parameters


@pytest.mark.parametrize(
    ("name", "left_alone"),
    [
        ("resnet18", ["fc.weight", "fc.bias"]),
        ("mobilenetv2", ["features.18.0.weight", "classifier.1.bias"]),
        ("pspnet-mobilenetv2", ["features.18.0.weight", "classifier.1.bias"]),
    ],
)
def test_trunk_is_taken_from_torchvisions_classifiers(name: str, left_alone: list[str]) -> None:
    network = small(name, seed=1)
    before = state_of(network)
    assert load_trunk_weights(network, checkpoint_of(named_by_torchvision(name))) == left_alone
    assert_same(state_of(network), {**before, **trunk_of(small(name))})


def test_trunk_is_taken_from_a_whole_network_of_any_number_of_classes(published: Path) -> None:
    network = small(num_classes=5, seed=1)
    before = state_of(network)
    left_alone = load_trunk_weights(network, read_checkpoint(published))
    assert_same(state_of(network), {**before, **trunk_of(small())})
    assert {name.partition(".")[0] for name in left_alone} == {"aspp", "bot_fine", "bot_aspp", "final"}


def test_trunk_that_is_not_the_networks_is_refused() -> None:
    network = small("resnet18", seed=1)
    before, tensors = state_of(network), named_by_torchvision("resnet18")
    del tensors["conv1.weight"]
    tensors |= {"layer4.2.conv1.weight": torch.zeros(1), "layer1.0.bn1.bias": torch.zeros(32)}
    with pytest.raises(
        ParameterError, match=r"are not those of the trunk of resnet18: .*of this trunk's classifier"
    ) as caught:
        load_trunk_weights(network, checkpoint_of(tensors))
    assert caught.value.missing == ["layer0.0.weight"]
    assert caught.value.unexpected == ["layer4.2.conv1.weight"]
    assert caught.value.mismatched == {"layer1.0.bn1.bias": ("[32]", "[64]")}
    assert_same(state_of(network), before)


def described_by(manifest: str) -> Checkpoint:
    """A file with the names and shapes of a published one; all its values are one zero."""
    entries = json.loads((GOLDEN / f"{manifest}.json").read_text())
    tensors = {
        name.removeprefix("module."): torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
        for name, (shape, dtype) in entries.items()
    }
    return checkpoint_of(tensors)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_published_imagenet_weights_fit_the_trunk() -> None:
    with torch.device("meta"):
        network = build_network("deepwv3plus")
    left_alone = load_trunk_weights(network, described_by("WiderResNet38_ImageNet"))
    assert [name for name in left_alone if not name.startswith("bn_out.0.")] == [
        "classifier.fc.weight",
        "classifier.fc.bias",
    ]
    assert len(left_alone) == 7


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_published_deeplabs_are_not_taken_for_each_other() -> None:
    with torch.device("meta"):
        network = build_network("resnet101")
    load_weights(network, described_by("DeepV3Plus_resnet-101"))
    with pytest.raises(ParameterError, match=r"not those of resnet101: 306 missing \(layer3\.6\.conv1\.weight"):
        load_weights(network, described_by("DeepR50V3PlusD_m1"))
