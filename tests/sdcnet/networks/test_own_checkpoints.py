"""Files of weights as we write them: they come back as they were, and damage to them is named."""

import json
from pathlib import Path

import pytest
import torch
from helpers.networks import assert_same_state
from safetensors import safe_open
from safetensors.torch import save_file

from jobs.errors import CheckpointError, ParameterError
from sdcnet.networks.checkpoints import (
    inspect_checkpoint,
    load_predictor,
    save_network,
)
from sdcnet.networks.kernels import SDCNet2DKernels, SDCNet2DReconKernels
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor


@pytest.mark.parametrize(
    "network",
    [
        SDCNet2D(num_history=3, width=0.1),
        SDCNet2DRecon(num_history=1, width=0.2),
        SDCNet2DKernels(width=0.1, kernel_size=5),
        SDCNet2DReconKernels(num_history=1, width=0.1),
    ],
)
def test_ours_come_back_with_their_settings(network: VideoPredictor, tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    save_network(path, network.to(memory_format=torch.channels_last), about={"data": "streets"})
    loaded = load_predictor(path)
    assert type(loaded) is type(network)
    assert loaded.settings == network.settings == inspect_checkpoint(path).settings
    assert inspect_checkpoint(path).networks == (type(network).__name__,)
    assert_same_state(loaded, network)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.safetensors"]


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    network = SDCNet2D(width=0.1)
    first, second = tmp_path / "first", tmp_path / "second"
    save_network(first, network, about={"epoch": 1, "data": "streets"})
    save_network(second, network, about={"data": "streets", "epoch": 1})
    assert first.read_bytes() == second.read_bytes()


def test_half_precision_halves_the_file_and_leaves_the_flow_statistics_exact(tmp_path: Path) -> None:
    network = SDCNet2D(width=0.1)
    sizes = []
    for dtype in (torch.float32, torch.float16):
        path = tmp_path / "ours.safetensors"
        save_network(path, network, about={}, dtype=dtype)
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.55 * sizes[0]
    loaded = load_predictor(path)
    assert torch.equal(loaded.flow_std, network.flow_std)
    assert torch.equal(loaded.conv1[0].weight, network.conv1[0].weight.half().float())


def described(path: Path, **changes: object) -> Path:
    """One of our files with another description."""
    save_network(path, SDCNet2D(width=0.1), about={})
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["sdcnet"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    description = {name: value for name, value in {**description, **changes}.items() if value is not None}
    save_file(tensors, path, metadata={"sdcnet": json.dumps(description)})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "a file of version 2, this program reads version 1. Update the program"),
        ({"version": None}, r"its description cannot be read \(KeyError\('version'\)\)"),
        ({"about": None}, "its description cannot be read"),
        ({"architecture": "SDCNet3D"}, "SDCNet3D with {.*}, which this program does not know how to do"),
        ({"preprocessing": {"colour_order": "RGB"}}, "SDCNet2D with {'colour_order': 'RGB'}, which this program"),
        ({"settings": {"depth": 3}}, r"its settings {'depth': 3} are no network's"),
        ({"settings": {"num_history": 0}}, r"needs flows"),
    ],
)
def test_ours_with_a_description_that_does_not_fit_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_predictor(described(tmp_path / "ours.safetensors", **changes))


def test_ours_with_parameters_that_do_not_fit_the_settings_are_refused(tmp_path: Path) -> None:
    path = described(tmp_path / "ours.safetensors", settings={"num_history": 2, "width": 1.0})
    with pytest.raises(ParameterError, match=r"conv1\.0\.weight: found \[8, 8, 7, 7\], expected \[32, 8, 7, 7\]"):
        load_predictor(path)


def test_truncated_file_of_ours_is_refused(tmp_path: Path) -> None:
    path = described(tmp_path / "ours.safetensors")
    content = path.read_bytes()
    for kept in (20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(CheckpointError, match=r"damaged safetensors file \(.+\). Copy or download it again"):
            load_predictor(path)


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "ours.safetensors"
    with pytest.raises(CheckpointError, match=rf"^{path}: cannot be written \(.+\). Is there space, and the folder"):
        save_network(path, SDCNet2D(width=0.1), about={})


def test_failed_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    path.mkdir()
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_network(path, SDCNet2D(width=0.1), about={})
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.safetensors"]
