"""`segtrain fit` as a whole: exact resumption, that it learns, and what it leaves behind."""

import html
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.drivers import PATIENCE
from helpers.runs import assert_equal_runs, assert_same_tensors, checkpoint, lines

from jobs.console.progress import Advance
from jobs.errors import RunFolderError
from propagate.data.classes import load_classes
from segtrain.checkpoints import read_checkpoint
from segtrain.cli.main import main
from segtrain.config import FitConfig
from segtrain.fit.training import fit

pytestmark = pytest.mark.slow

CITYSCAPES = load_classes("cityscapes")
NETWORK = "--network mobilenetv2 --output-stride 16 --class-uniform-tile 64"  # of TINY, as it is typed


def begun(root: Path, out: Path, options: str) -> "subprocess.Popen[str]":
    """A training in a session of its own that has just saved its first checkpoint."""
    command = [sys.executable, "-m", "segtrain", "fit", "--out", str(out), "--root", str(root), *NETWORK.split()]
    command += f"{options} --crop 64x64 --batch-size 2 --learning-rate 0.01 --max-val-images 1 --device cpu".split()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    while not (out / "checkpoint.pt").exists():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.005)
    return process


def test_ctrl_c_is_for_readers_of_samples_too_and_one_line_is_said(roads: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = begun(roads, out, "--epochs 200 --save-every 2 --loader-workers 2")
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert said.endswith(f"goes on in {out}, from its last checkpoint, or from the start without one.\n")
    assert not re.search("Traceback|Exception|Error", said), said


def test_a_killed_training_goes_on_to_the_same_weights(config: FitConfig, tmp_path: Path) -> None:
    """Killed in the middle of an epoch; the uninterrupted one reads in the process itself, and saves rarely."""
    config = replace(config, epoch_length=20, save_every=1000, average=0.9, max_val_images=1)
    killed = replace(config, out=tmp_path / "killed", save_every=3, loader_workers=1)
    process = begun(
        config.root, killed.out, "--epochs 2 --epoch-length 20 --average 0.9 --save-every 3 --loader-workers 1"
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint(killed.out)["step"] % 10 > 0
    for each in (config, killed):
        assert fit(each).steps == 20
    assert_equal_runs(config.out, killed.out)


def test_it_learns_and_leaves_what_a_page_of_it_needs(
    roads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    options = f"{NETWORK} --crop 64x64 --scale 1 --colour 0 --no-blur"
    options += " --batch-size 4 --epochs 3 --epoch-length 40 --optimiser adamw --learning-rate 0.003"
    options += " --average 0.9 --loader-workers 0 --device cpu --validate-every 2"
    result = CliRunner().invoke(main, ["fit", "--root", str(roads), "--out", str(out), *options.split()])
    assert result.exit_code == 0, result.output
    written = lines(out)
    losses = [line["loss"] for line in written if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    assert written[0].items() >= {"step": 0, "steps": 30, "workers": 1, "device": "cpu"}.items()
    assert [line["step"] for line in written if "loss" in line] == [10, 20, 30]
    assert all({"learning_rate", "samples_per_second"} < line.keys() for line in written if "loss" in line)
    validations = [line for line in written if "miou" in line]
    assert [line["step"] for line in validations] == [20, 30]
    assert {"accuracy", "iou/road", "iou/car", "iou/sky"} < validations[-1].keys()
    best = max(line["miou"] for line in validations)
    assert f"30 steps done, 0 s in this run\n{out}: mIoU {validations[-1]['miou']:.2%}" in again(roads, out, options)
    assert f"{out / 'best.safetensors'}: the best network, mIoU {best:.2%}" in result.stdout
    assert "without a pixel to train on: " in result.stderr
    assert list(out.glob("events.out.tfevents.*"))
    assert written[0]["config"].items() >= {"root": str(roads), "out": str(out), "loader_workers": 0, "seed": 0}.items()
    settings = json.loads((out / "config.json").read_text())
    assert settings["settings"]["learning_rate"] == 0.003
    assert settings["versions"]["torch"] == torch.__version__
    saved, exported = checkpoint(out), read_checkpoint(out / "last.safetensors")
    assert exported.description is not None
    assert tuple(exported.description.class_names) == CITYSCAPES.train_names
    assert exported.description.about["scores"]["miou"] == validations[-1]["miou"]
    assert_same_tensors({name: tensor.contiguous() for name, tensor in saved["average"].items()}, exported.tensors)
    assert any(not torch.equal(weight, saved["average"][name]) for name, weight in saved["network"].items())
    page = html.unescape((out / "index.html").read_text())
    (command,) = re.findall(r"<code>(segtrain evaluate .*?)</code>", page)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*shlex.split(command)[1:], "--json", "--device", "cpu"])
    assert result.exit_code == 0, f"{command}: {result.stderr}"
    assert json.loads(result.stdout)["miou"] == pytest.approx(best)


def again(roads: Path, out: Path, options: str) -> str:
    """The same command: there is nothing left to do."""
    return CliRunner().invoke(main, ["fit", "--root", str(roads), "--out", str(out), *options.split()]).stdout


@pytest.mark.parametrize(
    ("dtype", "losses"),
    [("bfloat16", ("relaxed", "ohem")), ("float16", ("relaxed",))],
)
def test_half_precision_trains(config: FitConfig, tmp_path: Path, dtype: str, losses: tuple[str, ...]) -> None:
    for loss in losses:
        out = tmp_path / loss
        told: list[Advance] = []
        summary = fit(replace(config, loss=loss, dtype=dtype, out=out, epochs=1, val_split=None), told.append)
        assert (summary.steps, summary.scores, summary.best) == (3, None, None)
        assert told[0].line is not None
        assert told[0].line.startswith("mobilenetv2 on cpu, 2 samples, 3 steps\n")
        assert told[0].line.endswith("\nnothing to validate on")
        assert (told[0].step, told[-1]) == (0, Advance(3, 3))
        assert all(
            torch.isfinite(weight).all() for weight in read_checkpoint(out / "last.safetensors").tensors.values()
        )
        assert not (out / "best.safetensors").exists()


def test_a_training_that_has_ended_can_be_extended(config: FitConfig) -> None:
    short = replace(config, epochs=1, schedule="poly", power=1.0)
    assert fit(short).steps == 3
    longer = replace(short, epochs=3, extend=True)
    with pytest.raises(RunFolderError, match=r"epochs: 1 then, 3 now.*go on with it, or --extend to train longer, or"):
        fit(replace(longer, extend=False))
    with pytest.raises(RunFolderError, match=r"epochs: 1 then, 3 now; seed: 0 then, 1 now"):
        fit(replace(longer, seed=1))
    assert fit(longer).steps == 9
    assert json.loads((config.out / "config.json").read_text())["settings"]["epochs"] == 3
    rates = [line["learning_rate"] for line in lines(config.out) if "loss" in line]
    assert rates[-1] == pytest.approx(config.learning_rate / 9)  # of the last of nine steps
    with pytest.raises(RunFolderError, match=r"epochs: 3 then, 2 now\); give .* to go on with it, or choose"):
        fit(replace(longer, epochs=2))


def test_the_summary_is_of_the_whole_training(config: FitConfig) -> None:
    summary = fit(config)
    assert summary.steps == 6
    assert summary.seconds > 0
    assert summary.scores is not None
    assert summary.best == checkpoint(config.out)["best"] >= summary.scores.miou
    assert summary.scores.num_images == 1
    assert set(summary.scores.iou) <= set(CITYSCAPES.train_names)
    repeated = fit(config)
    assert asdict(repeated) | {"seconds": 0} == asdict(summary) | {"seconds": 0}


def test_crops_may_be_larger_than_images(config: FitConfig) -> None:
    assert fit(replace(config, crop=(144, 288), scale=(0.5, 0.5), epochs=1, epoch_length=2)).steps == 1
