"""Files of RAFT's weights: torchvision's, those of its authors, ours, and what is none of them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.networks import assert_same_state, filled_raft
from torch import Tensor

from jobs.errors import CheckpointError, ParameterError
from sdcnet.cli.main import main
from sdcnet.networks.checkpoints import convert_checkpoint, inspect_checkpoint, load_raft, save_network
from sdcnet.networks.predictor import SDCNet2D
from sdcnet.networks.raft import RAFT
from sdcnet.networks.raft_layers import VARIANTS
from sdcnet.networks.raft_names import published_name, published_names

KEYS = json.loads((Path(__file__).parents[2] / "golden" / "raft_princeton_keys.json").read_text())
Saved = Callable[[Mapping[str, Tensor]], Path]


@pytest.fixture(scope="module")
def networks() -> dict[str, RAFT]:
    return {variant: filled_raft(variant) for variant in VARIANTS}


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(content: Mapping[str, Any]) -> Path:
        path = tmp_path / "weights.pth"
        torch.save(dict(content), path)
        return path

    return save


def as_authors(network: RAFT) -> dict[str, Tensor]:
    """The network's state as its authors' file holds it."""
    keys, state = KEYS[f"raft_{network.variant}"], network.state_dict()
    named = {theirs: state[ours] for theirs, ours in keys["map"].items()}
    named |= {twice: named[once] for twice, once in keys["duplicates"].items()}
    return {f"module.{name}": tensor for name, tensor in named.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_of_the_authors_are_those_of_the_table(variant: str) -> None:
    keys = KEYS[f"raft_{variant}"]
    assert {name: published_name(name) for name in keys["map"]} == keys["map"]
    everything = {name: name for name in [*keys["map"], *keys["duplicates"]]}
    found = published_names(everything)
    assert found == {ours: theirs for theirs, ours in keys["map"].items()}  # each comes from one of theirs
    with torch.device("meta"):
        assert set(found) == set(RAFT(variant).state_dict())


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_of_every_kind_load(networks: dict[str, RAFT], variant: str, saved: Saved, tmp_path: Path) -> None:
    network = networks[variant]
    assert_same_state(load_raft(saved(network.state_dict())), network)
    theirs = saved(as_authors(network))
    loaded = load_raft(theirs)
    assert_same_state(loaded, network)
    assert (loaded.variant, loaded.training) == (variant, False)
    ours = tmp_path / "ours.safetensors"
    convert_checkpoint(theirs, ours)
    assert_same_state(load_raft(ours), network)
    for path, settings in ((theirs, {}), (ours, {"variant": variant})):
        summary = inspect_checkpoint(path)
        assert (summary.networks, summary.settings) == ((f"RAFT {variant}",), settings)


def test_a_file_is_converted_and_inspected_by_command(networks: dict[str, RAFT], saved: Saved, tmp_path: Path) -> None:
    published, ours = saved(networks["small"].state_dict()), tmp_path / "small.safetensors"
    converted = CliRunner().invoke(main, ["convert", str(published), str(ours)])
    assert (converted.exit_code, converted.stderr) == (
        0,
        f"{ours}: RAFT small; 990,162 values in 106 tensors of float32\n",
    )
    inspected = CliRunner().invoke(main, ["inspect", str(ours)]).stdout
    assert "  preprocessing  colour_order: RGB\n" in inspected
    assert "  settings       variant: small\n" in inspected


def test_a_parameter_too_few_or_too_many_is_named(networks: dict[str, RAFT], saved: Saved) -> None:
    state, theirs = networks["large"].state_dict(), as_authors(networks["large"])
    missing = "update_block.flow_head.conv2.bias"
    with pytest.raises(ParameterError, match=f"1 missing .{missing}") as caught:
        load_raft(saved({name: tensor for name, tensor in state.items() if name != missing}))
    assert (caught.value.missing, caught.value.unexpected) == ([missing], [])
    with pytest.raises(ParameterError) as caught:
        load_raft(saved({**state, "extra.weight": torch.zeros(1)}))
    assert caught.value.unexpected == ["extra.weight"]
    with pytest.raises(ParameterError) as caught:  # what is there twice is left out only where it is there twice
        load_raft(saved({k: v for k, v in theirs.items() if not k.startswith("module.cnet.layer2.0.downsample.1.")}))
    assert len(caught.value.missing) == 5
    assert "context_encoder.layer2.0.convnormrelu3.1.weight" in caught.value.unexpected
    with pytest.raises(ParameterError) as caught:
        load_raft(saved({**state, "feature_encoder.conv.bias": torch.zeros(3)}))
    assert caught.value.mismatched == {"feature_encoder.conv.bias": ("[3]", "[256]")}


def test_other_networks_are_refused(networks: dict[str, RAFT], saved: Saved, tmp_path: Path) -> None:
    predictor = tmp_path / "predictor.safetensors"
    save_network(predictor, SDCNet2D(width=0.1), about={})
    with pytest.raises(ParameterError, match="The file holds another network: give one of RAFT"):
        load_raft(predictor)
    with pytest.raises(ParameterError, match=r"Is it the right file, whole, and one of RAFT\?"):
        load_raft(saved(torch.nn.Linear(2, 3).state_dict()))
    with pytest.raises(CheckpointError, match=r"update_block\.flow_head\.conv2\.bias holds values that are not finite"):
        load_raft(saved({**networks["small"].state_dict(), "update_block.flow_head.conv2.bias": torch.ones(2) / 0}))
