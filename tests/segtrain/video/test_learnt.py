"""Files of what a scheme has learnt: on their own base they are used, on any other refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.steppers import RUNTIME, OfLearnt, moving, network_of, seen_of, steps

from jobs.errors import CheckpointError
from propagate.data.classes import load_classes
from segtrain.checkpoints import read_checkpoint, save_network
from segtrain.models.registry import build_network
from segtrain.trained import open_trained
from segtrain.video.learnt import Learnt, describe_learnt, digest_of, open_learnt, save_learnt
from segtrain.video.registry import LEARNT, SchemeOptions, SchemeSettings, open_stepper, settings_of_each
from segtrain.video.tiled import Tiling, open_stepper_of

NETWORK = network_of("resnet18")
FRAMES = seen_of(moving(3))


def changed(learnt: torch.nn.Module) -> None:
    for parameter in learnt.parameters():
        parameter.mul_(1.01).add_(0.001)


@pytest.fixture(params=["twnet", "netwarp"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    learnt = OfLearnt(request.param, change=changed, settings={"fine_tune": True}).on(NETWORK)
    save_learnt(tmp_path / "best.safetensors", learnt, {"steps": 3})
    return tmp_path / "best.safetensors"


def test_a_file_gives_back_what_was_learnt(file: Path) -> None:
    description = describe_learnt(file)
    name = description.architecture
    learnt = OfLearnt(name, 2, changed, {"fine_tune": True}).on(NETWORK)
    settings = SchemeSettings(name=str(file), **({"interval": 2} if name == "twnet" else {}))
    found, _ = steps(open_stepper(NETWORK, settings), FRAMES)
    expected, _ = steps(learnt.stepper(2), FRAMES)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    title = f"{name} {file.parent}/best"
    assert settings.title == {"twnet": f"{title} interval=2", "netwarp": title}[name]
    assert (description.base, description.base_sha256) == ("resnet18", digest_of(NETWORK))
    assert description.about == {"steps": 3}
    again = file.with_name("again.safetensors")
    save_learnt(again, open_learnt(file, NETWORK, LEARNT), {"steps": 3})
    assert again.read_bytes() == file.read_bytes()


def test_another_base_is_refused(file: Path) -> None:
    other = network_of("resnet18")
    with torch.no_grad():
        other.bot_fine.weight[0, 0] += 1e-6
    for network in (other, network_of("pspnet18")):
        message = f"was learnt on a resnet18 of digest .*, this network is a {network.architecture} of digest .*--base"
        with pytest.raises(CheckpointError, match=message):
            open_stepper(network, SchemeSettings(name=str(file)))


def test_a_damaged_file_is_refused(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="what it holds is not what its checksum was made of"):
        open_learnt(file, NETWORK, LEARNT)
    file.write_bytes(content[:200])
    with pytest.raises(CheckpointError, match="no file of `segtrain video fit`, or not whole"):
        describe_learnt(file)


def test_a_file_of_another_kind_is_refused_wherever_it_is_given(file: Path, tmp_path: Path) -> None:
    network = tmp_path / "network.safetensors"
    save_network(network, build_network("mobilenetv2"), classes=load_classes("cityscapes"), about={})
    with pytest.raises(CheckpointError, match=r"holds mobilenetv2, a network of `segtrain`, expected what `segtrain v"):
        SchemeSettings(name=str(network))
    with pytest.raises(CheckpointError, match=r"expected one of segmentation\. Give that network, its --base"):
        open_trained(file, RUNTIME)
    with pytest.raises(CheckpointError, match=r"cannot be read .*expected a file of `segtrain video fit`"):
        SchemeSettings(name=str(tmp_path / "none.safetensors"))
    with pytest.raises(CheckpointError, match="expected one of segmentation"):
        read_checkpoint(file)


@pytest.mark.parametrize("settings", [{"many": True}, {"gate": "nothing"}, {"residual": "relative", "form": "other"}])
def test_settings_that_make_no_sense_are_refused(file: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"].pop("sha256")
    description = json.loads(header["__metadata__"]["segtrain-video"])
    known = {"many", *description["settings"]}
    description["settings"] |= {name: value for name, value in settings.items() if name in known}
    header["__metadata__"]["segtrain-video"] = json.dumps(description)
    text = json.dumps(header).encode()
    other = tmp_path / "other.safetensors"
    other.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(CheckpointError, match=r"its settings .* are none of"):
        open_learnt(other, NETWORK, LEARNT)


def test_tiles_share_what_was_learnt(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame may be 162 of them, and so many again after every cut."""
    opened: list[Path] = []

    def counted(path: Path, *others: Any) -> Learnt:
        opened.append(path)
        return open_learnt(path, *others)

    monkeypatch.setattr("segtrain.video.learnt.open_learnt", counted)
    tiling = Tiling(tile=32, stride=32, scales=(1.0,))
    steps(open_stepper_of(NETWORK, SchemeSettings(name=str(file)), tiling), FRAMES[:2])
    assert opened == [file]


def test_a_folder_is_no_scheme_and_what_to_give_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a folder; .* give --scheme .*best\.safetensors"):
        SchemeSettings(name=str(tmp_path))


def test_a_learnt_scheme_by_its_name_alone_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="scheme 'twnet' is learnt: give the file that `segtrain video fit"):
        SchemeSettings(name="twnet")
    with pytest.raises(ValueError, match="no scheme 'tw-net'"):
        SchemeSettings(name="tw-net")


def test_options_are_those_of_what_was_learnt(file: Path) -> None:
    has_interval = describe_learnt(file).architecture == "twnet"
    options = SchemeOptions(interval=3)
    if has_interval:
        assert [each.interval for each in settings_of_each([str(file), "copy"], options)] == [3, 3]
    else:
        with pytest.raises(ValueError, match="has --interval; leave it out"):
            settings_of_each([str(file)], options)
