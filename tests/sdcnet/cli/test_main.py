"""The command `sdcnet`, as users type it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from golden.fill import fill
from PIL import Image
from safetensors.torch import load_file

from sdcnet.cli import main as cli
from sdcnet.cli.convert import ARCHITECTURES
from sdcnet.networks.checkpoints import FLOWNET2, PREDICTORS, load_predictor, save_network
from sdcnet.networks.predictor import SDCNet2DRecon

REPOSITORY = Path(__file__).resolve().parents[3]


def sdcnet(*args: object) -> Result:
    result = CliRunner().invoke(cli.main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file as the published one: no FlowNet2, and an optimizer beside the parameters."""
    network = SDCNet2DRecon().requires_grad_(False)
    fill(network)
    path = tmp_path / "sdc_cityscapes_vrec.pth.tar"
    torch.save({"epoch": 40, "arch": "SDCNet2DRecon", "state_dict": network.state_dict(), "optimizer": {}}, path)
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    for number in range(3):
        Image.fromarray(noise[:, number : number + 64]).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("command", sorted(cli.main.commands))
def test_help_of_every_command_has_an_example(command: str) -> None:
    result = sdcnet(command, "--help")
    assert result.exit_code == 0
    assert f"\n  sdcnet {command} " in result.stdout


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys\nfrom sdcnet.cli.main import main\ntry: main(['--help'])\nfinally: print('torch' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert "inspect" in process.stdout
    assert process.stdout.endswith("False\n")


def test_files_of_weights_do_not_wait_for_what_compiles() -> None:
    script = "import sys, sdcnet.networks.checkpoints; print('torch._dynamo' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert process.stdout == "False\n"


def test_module_is_the_command() -> None:
    command = [sys.executable, "-m", "sdcnet", "inspect", "absent"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    message = "Error: absent: cannot be read (No such file or directory), expected a file of weights\n"
    assert (process.returncode, process.stdout, process.stderr) == (1, "", message)


def test_architectures_are_those_of_the_checkpoints() -> None:
    assert ARCHITECTURES[0] == FLOWNET2
    assert set(ARCHITECTURES[1:]) <= set(PREDICTORS)


def test_published_file_is_converted_and_inspected(published: Path, tmp_path: Path) -> None:
    ours = tmp_path / "recon.safetensors"
    result = sdcnet("convert", published, ours)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{ours}: SDCNet2DRecon; 9,698,427 values in 37 tensors of float32" in result.stderr
    expected = load_predictor(published).state_dict()
    assert load_predictor(ours).state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_file(ours).items())

    summary = json.loads(sdcnet("inspect", ours, "--json").stdout)
    assert summary["networks"] == ["SDCNet2DRecon"]
    assert summary["settings"] == {"num_history": 2, "width": 1.0}
    assert summary["about"] == {"epoch": 40, "arch": "SDCNet2DRecon"}
    text = sdcnet("inspect", ours).stdout
    assert text.startswith(f"{ours}: SDCNet2DRecon; 9,698,427 values")
    assert "  preprocessing  colour_order: BGR\n" in text
    assert "  about          epoch: 40\n" in text


def test_file_that_does_not_say_what_it_is_needs_the_architecture(published: Path, tmp_path: Path) -> None:
    bare, ours = tmp_path / "bare.pth", tmp_path / "ours.safetensors"
    torch.save(torch.load(published, weights_only=True)["state_dict"], bare)
    refused = sdcnet("convert", bare, ours)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"Error: {bare}: does not say which architecture it holds")
    assert not ours.exists()
    assert sdcnet("convert", bare, ours, "--architecture", "SDCNet2DRecon").exit_code == 0
    assert sdcnet("convert", bare, ours, "--architecture", "PWCNet").exit_code == 2


def test_foreign_file_is_inspected_but_not_converted(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pth"
    torch.save({"lr": 0.1, "best_EPE": float("inf"), "state_dict": torch.nn.Linear(2, 3).state_dict()}, foreign)
    result = sdcnet("inspect", foreign)
    assert result.exit_code == 0
    assert f"{foreign}: no network that this program knows; 9 values in 2 tensors of float32\n" in result.stdout
    summary = json.loads(sdcnet("inspect", foreign, "--json").stdout, parse_constant=pytest.fail)
    assert (summary["networks"], summary["about"]) == ([], {"lr": 0.1, "best_EPE": None})
    result = sdcnet("convert", foreign, tmp_path / "ours.safetensors")
    assert result.exit_code == 1
    assert "2 unexpected (weight, bias)" in result.stderr


@pytest.mark.parametrize("command", [("inspect",), ("convert", "ours.safetensors")])
def test_truncated_file_is_one_sentence(published: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    published.write_bytes(published.read_bytes()[:1000])
    result = sdcnet(command[0], published, *(tmp_path / name for name in command[1:]))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {published}: no file of weights, or not whole")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [("inspect",), ("convert", "ours.safetensors")])
def test_a_file_of_another_digest_is_refused(published: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    args = (command[0], published, *(tmp_path / name for name in command[1:]))
    assert sdcnet(*args, "--sha256", hashlib.sha256(published.read_bytes()).hexdigest()).exit_code == 0
    refused = sdcnet(*args, "--sha256", 64 * "0")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"Error: {published}: its SHA-256 is ")
    mistyped = sdcnet(*args, "--sha256", "0123")
    assert mistyped.exit_code == 2
    assert "sha256 must be 64 hexadecimal digits, found '0123'" in mistyped.stderr


def test_conversion_onto_itself_is_refused(published: Path) -> None:
    before = published.read_bytes()
    assert sdcnet("convert", published, published).exit_code == 2
    assert published.read_bytes() == before


def test_evaluation_prints_a_table_or_json(frames: Path) -> None:
    table = sdcnet("evaluate", frames, "--motion", "none")
    assert (table.exit_code, table.stderr) == (0, "")
    assert table.stdout.splitlines()[1].split()[:2] == [str(frames), "2"]
    scores = json.loads(sdcnet("evaluate", frames, "--motion", "none", "--json", "--limit", 1).stdout)
    assert (scores["frames"], scores["motion"], scores["epe"]) == (1, {"motion": "none"}, None)
    assert scores["psnr"] == scores["sources"][str(frames)]["psnr"]


def test_evaluation_of_trained_weights_says_what_it_repeated(frames: Path, tmp_path: Path) -> None:
    network = SDCNet2DRecon(width=0.1).requires_grad_(False)
    fill(network)
    weights = tmp_path / "narrow.safetensors"
    save_network(weights, network, about={})
    options = ("--motion", "sdcnet", "--sdcnet-weights", weights, "--input-flow", "dis", "--device", "cpu")
    result = sdcnet("evaluate", frames, *options, "--json")
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert (scores["frames"], scores["repeated_history"]) == (2, 1)
    assert "the farthest one was repeated for 1 of the frames scored\n" in result.stderr


def test_evaluation_goes_on_past_what_cannot_be_used_and_fails(frames: Path, tmp_path: Path) -> None:
    result = sdcnet("evaluate", frames, tmp_path / "absent", "--motion", "none", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["frames"] == 2
    assert result.stderr.startswith(f"failed: {tmp_path / 'absent'}: ")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--motion", "pwcnet"), 2, "'pwcnet' is not one of 'dis'"),
        (("--motion", "flownet"), 2, "'sdcnet-predict'; did you mean 'flownet2'?"),
        (("--motion", "flownet2"), 1, "FlowNet2 needs weights"),
        (("--motion", "sdcnet"), 1, "--sdcnet-weights"),
        (("--motion", "dis", "--input-flow", "dis"), 1, "motion 'dis' has no setting input_flow"),
        (("--limit", "0"), 2, "--limit"),
    ],
)
def test_evaluation_that_makes_no_sense_is_refused(
    frames: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    result = sdcnet("evaluate", frames, *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


def test_interruption_exits_with_130(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sdcnet.cli.evaluate.open_estimator", interrupt)
    result = sdcnet("evaluate", frames)
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
