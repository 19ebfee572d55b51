"""Files of weights in the published layouts, and everything that is neither these nor ours, or not whole."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.fill import fill
from helpers.networks import assert_same_state
from torch import Tensor, nn

from jobs.errors import CheckpointError, ParameterError
from sdcnet.networks import checkpoints
from sdcnet.networks.checkpoints import (
    convert_checkpoint,
    inspect_checkpoint,
    load_flownet2,
    load_predictor,
)
from sdcnet.networks.kernels import with_kernels
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon


class SmallFlowNet2(nn.Module):
    """Two layers under names that FlowNet2 has, so that files of it are quick to write."""

    def __init__(self) -> None:
        super().__init__()
        self.flownetc = nn.Sequential(nn.Conv2d(3, 4, 3))
        self.flownetfusion = nn.Sequential(nn.Conv2d(4, 2, 3))


SmallFlowNet2.__name__ = "FlowNet2"


@pytest.fixture
def small_flownet2(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    monkeypatch.setattr(checkpoints, "FlowNet2", SmallFlowNet2)
    return SmallFlowNet2()


@pytest.fixture(scope="module")
def recon() -> SDCNet2DRecon:
    network = SDCNet2DRecon().requires_grad_(False)
    fill(network)
    network.rgb_mean += 7
    return network


@pytest.fixture
def published(recon: SDCNet2DRecon, tmp_path: Path) -> Path:
    """A reconstruction's file as it is published: no FlowNet2, and the optimizer beside the parameters."""
    content = {"epoch": 40, "arch": "SDCNet2DRecon", "state_dict": recon.state_dict(), "optimizer": {"state": {}}}
    path = tmp_path / "sdc_cityscapes_vrec.pth.tar"
    torch.save(content, path)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    def save(content: object) -> Path:
        path = tmp_path / "weights.pth.tar"
        torch.save(content, path)
        return path

    return save


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def test_published_reconstruction_loads_whole(published: Path, recon: SDCNet2DRecon) -> None:
    network = load_predictor(published)
    assert type(network) is SDCNet2DRecon
    assert not network.training
    assert_same_state(network, recon)


def test_loading_draws_no_random_numbers(published: Path) -> None:
    torch.manual_seed(3)
    load_predictor(published)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_bare_state_dicts_and_prefixes_load(recon: SDCNet2DRecon, tmp_path: Path, prefix: str, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save(prefixed(prefix, recon), path, _use_new_zipfile_serialization=zipped)
    assert_same_state(load_predictor(path, "SDCNet2DRecon"), recon)


@pytest.mark.parametrize("prefix", ["", "module.", "flownet2.", "module.flownet2.", "flownet2.module."])
def test_flownet2_loads_under_its_prefixes(small_flownet2: nn.Module, saved: Callable, prefix: str) -> None:
    path = saved({"epoch": 1, "best_EPE": 1.5, "state_dict": prefixed(prefix, small_flownet2)})
    assert_same_state(load_flownet2(path), small_flownet2)


def test_file_with_both_networks_gives_either(small_flownet2: nn.Module, recon: SDCNet2DRecon, saved: Callable) -> None:
    state = prefixed("module.", recon) | prefixed("module.flownet2.", small_flownet2)
    path = saved({"arch": "SDCNet2DRecon", "state_dict": state})
    assert_same_state(load_predictor(path), recon)
    assert_same_state(load_flownet2(path), small_flownet2)
    assert inspect_checkpoint(path).networks == ("SDCNet2DRecon", "FlowNet2")


def test_whole_flownet2_has_the_published_names(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = checkpoints.FlowNet2()
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    # one number stands for all of a tensor's, or the file would have 650 MB
    state = {name: torch.tensor(float(number)).expand(shapes[name]) for number, name in enumerate(shapes)}
    path = tmp_path / "FlowNet2_checkpoint.pth.tar"
    torch.save({"state_dict": state}, path)
    assert path.stat().st_size < 1e6
    loaded = load_flownet2(path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_history_follows_from_the_shapes(saved: Callable) -> None:
    network = SDCNet2D(num_history=3)
    loaded = load_predictor(saved({"arch": "SDCNet2D", "state_dict": network.state_dict()}))
    assert loaded.num_history == 3
    assert_same_state(loaded, network)


def test_numbers_of_numpy_beside_the_parameters_are_read(recon: SDCNet2DRecon, saved: Callable) -> None:
    path = saved(
        {"arch": "SDCNet2DRecon", "best_EPE": np.float32(0.5), "n": np.float64(2), "state_dict": recon.state_dict()}
    )
    assert_same_state(load_predictor(path), recon)
    assert inspect_checkpoint(path).about == {"arch": "SDCNet2DRecon", "best_EPE": 0.5, "n": 2.0}


def test_numbers_of_numpy_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth.tar"
    content = {"arch": "SDCNet2D", "best_EPE": np.float64(2), "state_dict": {"final_flow.weight": torch.zeros(1)}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert inspect_checkpoint(path).about == {"arch": "SDCNet2D", "best_EPE": 2.0}


def test_shapes_alone_do_not_tell_prediction_from_reconstruction(recon: SDCNet2DRecon, saved: Callable) -> None:
    path = saved(recon.state_dict())
    with pytest.raises(
        CheckpointError, match=r"does not say which architecture it holds\. Say it: SDCNet2D or SDCNet2DRecon"
    ):
        load_predictor(path)
    assert inspect_checkpoint(path).networks == ("SDCNet2D or SDCNet2DRecon",)


def test_file_of_another_architecture_is_refused(published: Path) -> None:
    with pytest.raises(CheckpointError, match="says that it holds SDCNet2DRecon, asked for was SDCNet2D"):
        load_predictor(published, "SDCNet2D")
    with pytest.raises(ValueError, match=r"architecture must be one of SDCNet2D, SDCNet2DRecon, .*, found 'PWCNet'"):
        load_predictor(published, "PWCNet")


def test_kernels_that_a_file_lacks_are_not_made_up(published: Path, recon: SDCNet2DRecon, saved: Callable) -> None:
    with pytest.raises(CheckpointError, match="says that it holds SDCNet2DRecon, asked for was SDCNet2DReconKernels"):
        load_predictor(published, "SDCNet2DReconKernels")
    with pytest.raises(ParameterError, match="It holds no kernels: load the architecture without them") as caught:
        load_predictor(saved(recon.state_dict()), "SDCNet2DReconKernels")
    assert caught.value.missing == [
        f"kernels.{kernel}.{kind}" for kernel in ("vertical", "horizontal") for kind in ("weight", "bias")
    ]
    network = with_kernels(load_predictor(published))
    assert torch.equal(network.final_flow.weight, recon.final_flow.weight)


def test_error_names_missing_unexpected_and_mismatched_parameters(recon: SDCNet2DRecon, saved: Callable) -> None:
    state = recon.state_dict()
    for layer in (1, 2, 3):
        del state[f"conv{layer}.0.bias"], state[f"deconv{layer}.0.bias"]
    state |= {
        "extra": torch.zeros(1),
        "conv4.0.bias": torch.zeros(7),
        "conv5.0.bias": torch.zeros(256, dtype=torch.int64),
    }
    path = saved({"arch": "SDCNet2DRecon", "state_dict": state})
    with pytest.raises(ParameterError) as caught:
        load_predictor(path)
    error = caught.value
    assert error.missing == [
        f"{kind}{layer}.0.bias" for kind, layer in zip(3 * ["conv"] + 3 * ["deconv"], [1, 2, 3, 3, 2, 1], strict=True)
    ]
    assert error.unexpected == ["extra"]
    assert error.mismatched == {"conv4.0.bias": ("[7]", "[256]"), "conv5.0.bias": ("int64[256]", "[256]")}
    assert str(error) == (
        f"{path}: its parameters are not those of SDCNet2DRecon: 6 missing (conv1.0.bias, conv2.0.bias, conv3.0.bias, "
        "deconv3.0.bias and 2 more); 1 unexpected (extra); 2 of another shape (conv4.0.bias: found [7], "
        "expected [256], conv5.0.bias: found int64[256], expected [256]). "
        "Is it the right file, whole, and of this architecture?"
    )
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.missing, again.mismatched) == (str(error), error.missing, error.mismatched)


def test_networks_taken_for_each_other_are_named(published: Path, small_flownet2: nn.Module, saved: Callable) -> None:
    with pytest.raises(ParameterError, match="holds a video predictor alone: give FlowNet2's own") as caught:
        load_flownet2(published)
    assert caught.value.missing == list(small_flownet2.state_dict())
    path = saved({"state_dict": small_flownet2.state_dict()})
    with pytest.raises(ParameterError, match="The file holds FlowNet2: give that of the video predictor") as caught:
        load_predictor(path)
    assert caught.value.unexpected == list(small_flownet2.state_dict())


@pytest.mark.parametrize("load", [load_predictor, load_flownet2])
def test_foreign_network_is_refused(load: Callable, small_flownet2: nn.Module, saved: Callable) -> None:  # noqa: ARG001
    with pytest.raises(ParameterError, match=r"2 unexpected \(weight, bias\)"):
        load(saved(nn.Linear(2, 3).state_dict()))


def test_parameter_there_twice_is_refused(saved: Callable) -> None:
    with pytest.raises(CheckpointError, match="holds some parameters twice, with and without a prefix"):
        load_predictor(saved({"conv1.0.bias": torch.zeros(1), "module.conv1.0.bias": torch.zeros(1)}))


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"epoch": 3}, {"state_dict": [1]}, torch.ones(3), 5])
def test_file_without_a_state_dict_is_refused(saved: Callable, content: object) -> None:
    with pytest.raises(CheckpointError, match="no dictionary of named tensors, nor one under state_dict"):
        load_predictor(saved(content))


def test_the_state_of_a_training_is_known(saved: Callable) -> None:
    state = {"version": 1, "step": 2, "network": {}, "optimiser": {}}
    with pytest.raises(CheckpointError, match=r"the state of a training, expected weights\. Give the \.safetensors"):
        load_predictor(saved(state))


def test_weights_that_are_not_finite_are_refused(recon: SDCNet2DRecon, saved: Callable) -> None:
    state = {name: tensor.clone() for name, tensor in recon.state_dict().items()}
    state["conv3.0.weight"][5, 0, 0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"conv3\.0\.weight holds values that are not finite"):
        load_predictor(saved({"arch": "SDCNet2DRecon", "state_dict": state}))


class Intruder:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("intruder",)


def test_code_in_a_file_is_not_run(saved: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds objects of another program \(posix\.mkdir\), expected"):
        load_predictor(saved({"state_dict": Intruder()}))
    assert not (tmp_path / "intruder").exists()


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 and nothing else", b"version https://git-lfs", b"<!DOCTYPE html>", b"\x80\x02."]
)
def test_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth.tar"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=rf"^{path}: no file of weights, or not whole \(.+\). Copy or download it again"
    ):
        load_predictor(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.001, 0.5, 0.999])
def test_truncated_file_is_refused(recon: SDCNet2DRecon, tmp_path: Path, kept: float, zipped: bool) -> None:
    path = tmp_path / "weights.pth.tar"
    torch.save(recon.state_dict(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match="no file of weights, or not whole"):
        load_predictor(path, "SDCNet2DRecon")


def test_empty_and_absent_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth.tar"
    with pytest.raises(CheckpointError, match=r"cannot be read \(No such file or directory\)"):
        load_predictor(path)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory\), expected a file of weights$"):
        load_predictor(tmp_path)
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"expected a file of weights; give one .* in there: best\.safetensors$"):
        load_predictor(tmp_path)
    path.touch()
    with pytest.raises(CheckpointError, match=r"empty file \(0 bytes\), expected weights"):
        load_predictor(path)


def test_converted_file_holds_the_same_network_and_what_was_said_of_it(published: Path, recon: SDCNet2DRecon) -> None:
    ours = published.with_suffix(".safetensors")
    convert_checkpoint(published, ours)
    assert_same_state(load_predictor(ours), recon)
    summary = inspect_checkpoint(ours)
    assert summary.networks == ("SDCNet2DRecon",)
    assert (summary.num_tensors, summary.num_values, summary.dtypes) == (37, 9_698_420 + 7, ("float32",))
    assert summary.settings == {"num_history": 2, "width": 1.0}
    assert summary.preprocessing["colour_order"] == "BGR"
    assert summary.about == {"epoch": 40, "arch": "SDCNet2DRecon"}


def test_conversion_of_two_networks_asks_which(
    small_flownet2: nn.Module, recon: SDCNet2DRecon, saved: Callable
) -> None:
    state = recon.state_dict() | prefixed("flownet2.", small_flownet2)
    path = saved({"arch": "SDCNet2DRecon", "state_dict": state})
    ours = path.with_suffix(".safetensors")
    with pytest.raises(
        CheckpointError, match=r"holds two networks\. Say which architecture is wanted: FlowNet2 or SDCNet2D"
    ):
        convert_checkpoint(path, ours)
    assert not ours.exists()
    convert_checkpoint(path, ours, "FlowNet2")
    assert_same_state(load_flownet2(ours), small_flownet2)
    convert_checkpoint(path, ours, "SDCNet2DRecon")
    assert_same_state(load_predictor(ours), recon)


def test_foreign_file_can_be_inspected(saved: Callable) -> None:
    summary = inspect_checkpoint(saved({"lr": 0.1, "state_dict": nn.Linear(2, 3).half().state_dict()}))
    assert summary.networks == ()
    assert (summary.num_tensors, summary.num_values, summary.dtypes, summary.about) == (2, 9, ("float16",), {"lr": 0.1})
