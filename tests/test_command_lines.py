"""What holds for every command of the three programs, and that each of them takes its options from everywhere."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from propagate.cli import main as propagate
from sdcnet.cli import main as sdcnet
from segtrain.cli import main as segtrain

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAMS = {"propagate": propagate.main, "sdcnet": sdcnet.main, "segtrain": segtrain.main}
LONG = {
    "propagate": ("run", "fit-corrector", "synth"),
    "sdcnet": ("fit", "evaluate"),
    "segtrain": (
        "fit",
        "evaluate",
        "predict",
        "pseudo",
        "refine",
        "video fit",
        "video predict",
        "video evaluate",
        "video calibrate",
    ),
}


def commands_of(group: click.Group) -> dict[str, click.Command]:
    """By what is typed after the program's name; those of a group within it by its name and theirs."""
    found = {}
    for name, command in group.commands.items():
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": each for inner, each in commands_of(command).items()}
    return found


COMMANDS = {(program, name): each for program, group in PROGRAMS.items() for name, each in commands_of(group).items()}
OPTIONS = [
    pytest.param(option, id=f"{program} {name} {option.opts[0]}")
    for (program, name), command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_says_what_it_is_and_what_holds_without_it(option: click.Option) -> None:
    help = option.help or ""
    assert help.partition("  [")[0].strip()
    assert option.required or "  [default: " in help
    assert "[default: ]" not in help


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_every_command_has_an_example(program: str, name: str) -> None:
    help = CliRunner().invoke(PROGRAMS[program], [*name.split(), "--help"], prog_name=program).stdout
    assert f"\n  {program} {name} " in help


@pytest.mark.parametrize(("program", "name"), [(program, name) for program, names in LONG.items() for name in names])
def test_every_long_command_takes_a_file(program: str, name: str) -> None:
    assert "--config" in {opt for option in COMMANDS[program, name].params for opt in option.opts}


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_commands_does_not_wait_for_torch(program: str) -> None:
    script = f"import sys\nfrom {program}.cli.main import main\n" + "".join(
        f"main([*{name.split()!r}, '--help'], standalone_mode=False)\n" for each, name in COMMANDS if each == program
    )
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False).returncode == 0


Called = list[Any]  # configurations


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """The configurations that commands come to, in place of their work."""
    seen: Called = []

    def refuse(config: Any, *_: object, **__: object) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    for place in ("propagate.job.run.run", "sdcnet.fit.training.fit", "segtrain.fit.training.fit"):
        monkeypatch.setattr(place, refuse)
    monkeypatch.setattr("segtrain.cli.video_network.VideoNetworkConfig.open_motion", refuse)
    return seen


def invoke(program: str, *args: str, **variables: str) -> None:
    result = CliRunner(env=variables).invoke(PROGRAMS[program], list(args), prog_name=program)
    assert result.exit_code == 130, result.output


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_every_command_as_ctrl_c_does(signum: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signum)

    for place in ("propagate.job.run.run", "sdcnet.fit.training.fit", "segtrain.fit.training.fit"):
        monkeypatch.setattr(place, stop)
    goes_on = f"The same command goes on in {tmp_path}, from its last checkpoint, or from the start without one."
    on = f"Interrupted. {goes_on}\n"
    for program, line, said in (
        ("propagate", ("run", "--dataset", "cityscapes"), "Interrupted; what is finished is kept.\n"),
        ("sdcnet", ("fit", "street"), on),
        ("segtrain", ("fit", "--recipe", "tiny", "--shards", "shards"), f"recipe tiny\n{on}"),
    ):
        result = CliRunner().invoke(PROGRAMS[program], [*line, "--out", str(tmp_path)])
        assert (result.exit_code, result.stderr) == (128 + signum, said)


def test_options_of_a_run_come_from_four_places(called: Called, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "{root: street, dataset: camvid, out: shards, clips-per-shard: 3, frames: 3, split: file, motion: none,"
        "limit: 9}"
    )
    arguments = ("run", "--config", str(file), "--frames", "1", "--limit", "none")
    invoke("propagate", *arguments, PROPAGATE_RUN_FRAMES="2", PROPAGATE_RUN_SPLIT="here", PROPAGATE_RUN_MOTION="tvl1")
    [config] = called
    assert (config.frames, config.limit) == (1, None)
    assert (config.options.split, config.motion.name) == ("here", "tvl1")
    assert (config.options.root, config.out, config.clips_per_shard) == (Path("street"), Path("shards"), 3)
    assert (config.engine, config.sample_settings.pairing) == ("ray", "label")


def test_options_of_a_predictors_training_come_from_four_places(called: Called, tmp_path: Path) -> None:
    file = tmp_path / "fit.yaml"
    file.write_text("{out: run, val: [a, b], batch_size: 3, steps: 3, seed: 3, crop: [64, 128]}")
    variables = {"SDCNET_FIT_STEPS": "2", "SDCNET_FIT_BATCH_SIZE": "2"}
    invoke("sdcnet", "fit", "frames", "--config", str(file), "--steps", "1", **variables)
    [config] = called
    assert (config.steps, config.batch_size, config.seed, config.history) == (1, 2, 3, 2)
    assert (config.sources, config.validation, config.crop) == ((Path("frames"),), (Path("a"), Path("b")), (64, 128))


def test_options_of_a_training_come_from_five_places(called: Called, tmp_path: Path) -> None:
    file, recipe = tmp_path / "fit.yaml", tmp_path / "recipe.yaml"
    recipe.write_text("{epochs: 4, batch_size: 4, seed: 4, border: 4, max_offset: 4}")
    file.write_text(
        f"{{recipe: {recipe}, root: street, dataset: camvid, epochs: 3, batch_size: 3, seed: 3, max_offset: null}}"
    )
    variables = {"SEGTRAIN_FIT_EPOCHS": "2", "SEGTRAIN_FIT_BATCH_SIZE": "2", "SEGTRAIN_FIT_SHARDS": "a:b"}
    invoke("segtrain", "fit", "--out", "run", "--config", str(file), "--epochs", "1", **variables)
    [config] = called
    assert (config.epochs, config.batch_size, config.seed, config.border, config.accumulate) == (1, 2, 3, 4, 1)
    assert (config.max_offset, config.shards) == (None, (Path("a"), Path("b")))


def test_options_of_a_command_within_a_command_come_from_four_places(called: Called, tmp_path: Path) -> None:
    file = tmp_path / "predict.yaml"
    file.write_text("{interval: 3, scheme: copy, motion: none, kinds: [rgb], out: seen}")
    variables = {"SEGTRAIN_VIDEO_PREDICT_INTERVAL": "2", "SEGTRAIN_VIDEO_PREDICT_SCHEME": "warp-labels"}
    arguments = ("video", "predict", "best.safetensors", "drive.mp4", "--config", str(file), "--interval", "1")
    invoke("segtrain", *arguments, **variables)
    [config] = called
    assert (config.scheme.interval, config.scheme.name, config.motion) == (1, "warp-labels", "none")
    assert (config.source, config.out, config.kinds) == (Path("drive.mp4"), Path("seen"), ("rgb",))


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(program: str, shell: str) -> None:
    variables = {f"_{program.upper()}_COMPLETE": f"{shell}_source"}
    result = CliRunner(env=variables).invoke(PROGRAMS[program], prog_name=program)
    assert result.exit_code == 0, result.output
    assert f"_{program.upper()}_COMPLETE={shell}_complete" in result.stdout
    assert f"_{program}_completion" in result.stdout


def test_what_a_data_set_refuses_is_failed_work_and_what_cannot_be_read_is_misuse(tmp_path: Path) -> None:
    def code(*args: str) -> int:
        return CliRunner().invoke(propagate.main, ["run", "--out", str(tmp_path / "o"), *args]).exit_code

    assert code("--root", str(tmp_path), "--dataset", "folder") == 1
    assert code("--root", str(tmp_path), "--motion", "dis", "--input-flow", "dis") == 1
    assert code("--root", str(tmp_path), "--dataset", "folders") == 2
    assert code("--root", str(tmp_path), "--engine", "local", "--address", "x:1") == 2
    assert code() == 1
