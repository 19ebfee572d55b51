"""Weights of one program given to another: what the file holds is said, and what was expected."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.classes import named_classes
from safetensors.torch import save_file

from jobs.errors import CheckpointError, ParameterError
from jobs.training.descriptions import network_of_another
from sdcnet.cli.main import main as sdcnet
from sdcnet.motion.registry import MotionSettings, open_estimator
from sdcnet.networks import checkpoints as of_motion
from sdcnet.networks.predictor import SDCNet2DRecon
from segtrain import checkpoints as of_segmentation
from segtrain.models.registry import build_network


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("motion") / "recon.safetensors"
    of_motion.save_network(path, SDCNet2DRecon(width=0.05), about={})
    return path


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("segmentation") / "best.safetensors"
    network = build_network("mobilenetv2", num_classes=2)
    of_segmentation.save_network(path, network, classes=named_classes(("road", "car")), about={"steps": 3})
    return path


def test_a_predictor_is_no_segmentation_network(predictor: Path) -> None:
    message = (
        r"recon\.safetensors: holds SDCNet2DRecon, a network of `sdcnet`, expected one of segmentation\. Give "
        "a file of `segtrain fit`, or a published one"
    )
    with pytest.raises(CheckpointError, match=message):
        of_segmentation.read_checkpoint(predictor)


@pytest.mark.parametrize(
    ("motion", "option"),
    [("sdcnet", "sdcnet_weights"), ("flownet2", "flownet2_weights"), ("raft", "raft_weights")],
)
def test_a_segmentation_network_is_no_motion(segmentation: Path, motion: str, option: str) -> None:
    settings = MotionSettings(name=motion, **{option: segmentation})  # type: ignore[arg-type]
    message = r"best\.safetensors: holds mobilenetv2, a network of `segtrain`, expected one of motion\. Give a file"
    with pytest.raises(CheckpointError, match=message):
        open_estimator(settings)


def test_a_foreign_network_is_said_before_the_weights_that_it_would_need(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    torch.save(torch.nn.Linear(2, 3).state_dict(), path)
    with pytest.raises(ParameterError, match="its parameters are not those of SDCNet2DRecon"):
        open_estimator(MotionSettings(name="sdcnet", sdcnet_weights=path))


def test_a_segmentation_network_is_inspected_as_what_it_is(segmentation: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(sdcnet, ["inspect", str(segmentation)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{segmentation}: mobilenetv2, a network of `segtrain`; ")
    result = CliRunner().invoke(sdcnet, ["convert", str(segmentation), str(tmp_path / "ours.safetensors")])
    assert result.exit_code == 1
    assert "holds mobilenetv2, a network of `segtrain`, expected one of motion" in result.stderr


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"sdcnet": '{"architecture": "RAFT"}'},
        {"sdcnet": "{}", "segtrain": '{"architecture": "mobilenetv2"}'},
        {"format": "pt", "sha256": "12", "list": "[1]", "half": '{"architecture": "\\u0007"}', "deep": "[" * 10000},
    ],
)
def test_what_describes_no_network_of_another(metadata: dict[str, str]) -> None:
    assert network_of_another(metadata, "sdcnet") is None


def test_texts_of_other_libraries_are_no_description(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    assert of_segmentation.read_checkpoint(path).description is None
