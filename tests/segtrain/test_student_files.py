"""Files of PSPNet as its training with a teacher leaves them: read strictly, and what is left out is said."""

import json
from pathlib import Path

import cv2
import pytest
import torch
from click.testing import CliRunner
from helpers.classes import named_classes
from torch import Tensor, nn

from jobs.errors import CheckpointError, ParameterError
from propagate.data.classes import load_classes
from segtrain.checkpoints import (
    Checkpoint,
    load_network,
    load_trunk_weights,
    load_weights,
    read_checkpoint,
    save_network,
)
from segtrain.cli.main import main
from segtrain.config import FitConfig
from segtrain.fit.task import new_network
from segtrain.models.network import SegmentationNetwork
from segtrain.models.registry import build_network

CITYSCAPES = load_classes("cityscapes")
HEAD = {"cls.4.weight", "cls.4.bias", "aux.4.weight", "aux.4.bias"}


def seeded(name: str = "pspnet18", *, num_classes: int = 19, seed: int = 0) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network(name, num_classes=num_classes)


def wrong_entries(network: nn.Module, expected: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, expected[name])]


def checkpoint_of(tensors: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(path=Path("weights.pth"), tensors=tensors, fields={}, description=None)


def student_state(prefix: str = "module.student.") -> dict[str, Tensor]:
    """A student beside the flow network, the teacher and the loss of its training."""
    helpers = {
        "module.flownet.flownetc.conv1.0.weight": torch.zeros(2),
        "module.flownet.flownetc.conv1.0.bias": torch.zeros(2),
        "module.teacher.layer0.0.weight": torch.zeros(2),
        "module.criterion.weight": torch.zeros(19),
        "module.student.criterion.weight": torch.zeros(19),
    }
    return {**{f"{prefix}{name}": tensor for name, tensor in seeded().state_dict().items()}, **helpers}


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    path = tmp_path / "train_epoch_200.pth"
    torch.save({"epoch": 200, "state_dict": student_state()}, path)
    return path


@pytest.mark.parametrize("prefix", ["module.student.", "student.", "module.student.module."])
def test_a_students_file_fills_a_network_and_says_what_it_leaves_out(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "student.pth"
    torch.save({"epoch": 200, "state_dict": student_state(prefix)}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.left_out == {"flownet": 2, "teacher": 1, "criterion": 2}
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: left out tensors that only helped to train the network: 2 of flownet, 1 of teacher, 2 of criterion"
    ]
    network = load_network(checkpoint, "pspnet18")
    assert wrong_entries(network, seeded().state_dict()) == []
    assert (network.num_classes, network.output_stride, checkpoint.fields) == (19, 8, {"epoch": 200})


def test_a_students_file_is_what_a_training_begins_with(student_file: Path) -> None:
    config = FitConfig(out=Path("run"), root=Path("street"), network="pspnet18", weights=student_file, seed=3)
    begun = new_network(config, CITYSCAPES.train_names)
    assert wrong_entries(begun, seeded().state_dict()) == []


def test_what_a_students_file_holds_beside_known_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.pth"
    torch.save({**student_state(), "module.lstm.Gates.weight": torch.zeros(2)}, path)
    with pytest.raises(ParameterError, match=r"1 unexpected \(lstm\.Gates\.weight\)"):
        load_network(read_checkpoint(path), "pspnet18")
    torch.save({**student_state(), "module.cls.4.bias": torch.zeros(19)}, path)
    with pytest.raises(CheckpointError, match=r"holds cls\.4\.bias twice, with and without 'student'"):
        read_checkpoint(path)


def test_a_file_without_a_student_is_taken_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, state = tmp_path / "plain.pth", seeded().state_dict()
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    checkpoint = read_checkpoint(path)
    assert wrong_entries(load_network(checkpoint, "pspnet18"), state) == []
    assert (checkpoint.left_out, caplog.records) == ({}, [])
    torch.save({**{f"module.{name}": tensor for name, tensor in state.items()}, "flow.weight": torch.zeros(1)}, path)
    with pytest.raises(ParameterError, match=r"1 unexpected \(flow\.weight\)"):
        load_network(read_checkpoint(path), "pspnet18")
    with pytest.raises(CheckpointError, match=r"does not say which architecture it holds\. Say it, one of: .*pspnet18"):
        load_network(checkpoint)


def test_all_of_the_heads_stay_new(student_file: Path) -> None:
    network, file = seeded(num_classes=5, seed=1), read_checkpoint(student_file)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"scores 19 classes, the network 5\. Ask for a new head \(--new-head\)"):
        load_weights(network, file)
    load_weights(network, file, new_head=True)
    kept = {name: before[name] for name in HEAD}
    assert wrong_entries(network, {**seeded().state_dict(), **kept}) == []


def test_ours_comes_back_as_it_was(tmp_path: Path) -> None:
    network = seeded(num_classes=3)
    save_network(tmp_path / "ours", network, classes=named_classes(("road", "car", "sky")), about={})
    checkpoint = read_checkpoint(tmp_path / "ours")
    assert checkpoint.description is not None
    assert checkpoint.description.settings == {"num_classes": 3, "output_stride": 8}
    assert wrong_entries(load_network(checkpoint), network.state_dict()) == []


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("pspnet18", {"0": "conv1", "1": "bn1"}),
        ("pspnet101", {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}),
    ],
)
def test_the_trunk_is_taken_from_imagenet_classifiers(name: str, stem: dict[str, str]) -> None:
    network = seeded(name, num_classes=2)
    state = network.state_dict()
    trunk = {entry: torch.full_like(tensor, 0.5) for entry, tensor in state.items() if entry.startswith("layer")}
    classifier = {"fc.weight": torch.zeros(1000, 512)}
    for entry, tensor in trunk.items():
        stage, layer, rest = entry.split(".", 2)
        classifier[f"{stem[layer]}.{rest}" if stage == "layer0" else entry] = tensor
    assert {f"{layer}.weight" for layer in stem.values()} < classifier.keys()
    assert load_trunk_weights(network, checkpoint_of(classifier)) == ["fc.weight"]
    heads = {entry: tensor.clone() for entry, tensor in state.items() if entry not in trunk}
    assert wrong_entries(network, {**heads, **trunk}) == []
    del classifier["conv1.weight"]
    with pytest.raises(ParameterError, match=rf"the trunk of {name}: 1 missing \(layer0\.0\.weight\)"):
        load_trunk_weights(network, checkpoint_of(classifier))


def test_the_commands_take_a_students_file(student_file: Path, street: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        common = (student_file, "--architecture", "pspnet18", "--root", street, "--split", "train", "--device", "cpu")
        result = CliRunner().invoke(main, [str(each) for each in (arguments[0], *common, *arguments[1:])])
        assert result.exit_code == 0, result.output
        return result.stdout

    scores = json.loads(run("evaluate", "--json"))
    assert list(scores["classes"]) == list(CITYSCAPES.train_names)
    assert 0 <= scores["miou"] < 0.5
    run("predict", "--out", tmp_path / "out")
    found = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / "out" / "pred").iterdir()]
    assert len(found) == scores["images"] >= 1
    assert all(labels.shape == (128, 256) for labels in found)
