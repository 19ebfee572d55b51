"""`sdcnet fit`: what a step sees, how a predictor begins, that it learns, and goes on where it was killed."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.crews import launch_spawned
from PIL import Image
from torch import Tensor

from jobs.errors import FitError, RunFolderError
from jobs.training import loop, run_folder
from jobs.training.run_folder import load_checkpoint, locked, save_checkpoint
from jobs.training.runtime import open_runtime
from sdcnet.cli.main import main
from sdcnet.errors import FrameError
from sdcnet.fit import task
from sdcnet.fit.config import FitConfig
from sdcnet.fit.initial import initialise
from sdcnet.fit.samples import Samples, StepKeys, Windows, load_batches
from sdcnet.fit.schedules import learning_rate
from sdcnet.fit.training import Advance, fit
from sdcnet.fit.validation import validate
from sdcnet.frames import open_sequences
from sdcnet.geometry import warp_frames
from sdcnet.motion.pair_flow import DisPairs
from sdcnet.networks.checkpoints import inspect_checkpoint, load_predictor, save_network
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {"width": 0.05, "crop": (32, 48), "batch_size": 2, "loader_workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of 6 frames of 40x64, a texture that moves by 2 pixels a frame."""
    folder = tmp_path_factory.mktemp("moving")
    for name in ("a", "b"):
        random = np.random.default_rng(ord(name))
        texture = np.repeat(np.repeat(random.integers(0, 256, (10, 24, 3), np.uint8), 4, 0), 4, 1)
        for number in range(6):
            Image.fromarray(texture[:, 2 * number : 2 * number + 64]).save(folder / f"{name}_{number}.png")
    return folder


@pytest.fixture
def samples(moving: Path) -> Samples:
    return Samples(Windows(open_sequences([moving]), 3), 3, (32, 48), 7, DisPairs())


def weights(out: Path) -> dict[str, Tensor]:
    return load_predictor(out / "predictor.safetensors").state_dict()


def assert_equal_runs(one: Path, other: Path) -> None:
    """The same weights, averages and moments, bit for bit."""
    for part in ("network", "average"):
        first, second = (load_checkpoint(out)[part] for out in (one, other))  # type: ignore[index]
        assert all(torch.equal(first[name], second[name]) for name in first)
    moments = [load_checkpoint(out)["optimizer"]["state"] for out in (one, other)]  # type: ignore[index]
    assert all(torch.equal(moments[0][i][key], moments[1][i][key]) for i in moments[0] for key in moments[0][i])
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def run_fit(source: Path, out: Path, *options: str) -> "subprocess.Popen[str]":
    """Starts the command in a process of its own, on one thread: more of them mostly wait for each other."""
    command = [sys.executable, "-m", "sdcnet", "fit", str(source), "--out", str(out), "--device", "cpu", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_windows_are_all_places_where_the_frames_are_consecutive(moving: Path) -> None:
    windows = Windows(open_sequences([moving]), 3)
    assert [windows.place(number) for number in range(len(windows))] == [(s, t) for s in (0, 1) for t in range(4)]
    with pytest.raises(FitError, match="longest of 2 sequences has 6 frames, expected 7: the history and its target"):
        Windows(open_sequences([moving]), 7)


def test_a_sample_follows_from_seed_step_and_index_alone(samples: Samples) -> None:
    first = samples[3, 1]
    assert first.frames.shape == (1, 3, 3, 32, 48)
    assert first.flows is not None
    assert first.flows.shape == (1, 2, 2, 32, 48)
    for key in ((0, 0), (3, 0), (4, 1)):
        assert not torch.equal(samples[key].frames, first.frames)
    again = samples[3, 1]
    assert torch.equal(again.frames, first.frames)
    assert torch.equal(again.flows, first.flows)  # type: ignore[arg-type]


def test_samples_are_mirrored_and_reversed_before_their_flow_is_estimated(samples: Samples) -> None:
    """The texture moves left by 2, so flow to the frame before is +2; mirrored or reversed -2; both +2."""
    seen = {}
    for index in range(24):
        batch = samples[0, index]
        assert batch.flows is not None
        draw = samples._windows.draw(7, (0, index), (32, 48))
        flow = batch.flows[0, -1, 0, 8:-8, 12:-12].median().item()
        seen[draw.mirrored, draw.reversed] = flow
        assert flow == pytest.approx(-2 if draw.mirrored != draw.reversed else 2, abs=0.3)
    assert len(seen) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shares_of_members_together_are_the_batch(samples: Samples, num_workers: int) -> None:
    whole = list(load_batches(samples, StepKeys(range(2, 4), range(4)), num_workers=num_workers, pinned=False))
    parts = [
        list(load_batches(samples, StepKeys(range(2, 4), share), num_workers=0, pinned=False))
        for share in (range(2), range(2, 4))
    ]
    assert len(whole) == 2
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(batch.frames, torch.cat([share.frames for share in shares]))
        assert torch.equal(batch.flows, torch.cat([share.flows for share in shares]))


@pytest.mark.parametrize("kind", [SDCNet2D, SDCNet2DRecon])
@pytest.mark.parametrize("num_history", [2, 3])
def test_an_untrained_network_returns_its_newest_flow(kind: type[VideoPredictor], num_history: int) -> None:
    network = kind(num_history=num_history, width=0.05)
    initialise(network, 0)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (1, network.num_frames, 3, 50, 70), generator=generator, dtype=torch.uint8)
    flows = 20 * torch.randn(1, network.num_frames - 1, 2, 50, 70, generator=generator)
    torch.testing.assert_close(network.displacement(frames, flows), flows[:, -1], atol=1e-4, rtol=0)


def test_an_untrained_network_keeps_the_variance_of_what_it_sees() -> None:
    network = SDCNet2DRecon(width=1)
    initialise(network, 0)
    features = network._body(torch.randn(1, 13, 128, 128, generator=torch.Generator().manual_seed(0)))
    assert 0.3 < features[:, 13:].std() < 3


@pytest.mark.parametrize(("schedule", "middle"), [("cosine", 0.5), ("poly", 0.5**0.9)])
def test_learning_rates_rise_then_fall(schedule: str, middle: float) -> None:
    rates = [learning_rate(schedule, step, 100_000, 2.0) for step in range(100_000)]
    assert rates[0] == pytest.approx(0.002)
    assert rates[999] == max(rates) == 2.0
    assert rates[50_500] == pytest.approx(2 * middle)
    assert 0 < rates[-1] < 1e-3
    assert 0 < learning_rate(schedule, 0, 1, 2.0) <= 2
    with pytest.raises(ValueError, match="no schedule 'step'; known are cosine, poly"):
        learning_rate("step", 0, 1, 1.0)


def test_fit_lowers_the_photometric_error_below_that_of_its_input_flow(street: Path, tmp_path: Path) -> None:
    """The short version: on streets of 128x256, from scratch, scored on a street that it has not seen."""
    frames = sorted((street / "leftImg8bit_sequence").rglob("*.png"))
    held_out = {name.rpartition("_")[0] for name in (path.name.removesuffix("_leftImg8bit.png") for path in frames)}
    for path in frames:
        is_held_out = path.name.startswith(max(held_out))
        folder = tmp_path / ("unseen" if is_held_out else "seen")
        folder.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(path)
    out = tmp_path / "run"
    arguments = ["--val", str(tmp_path / "unseen"), "--width", "0.0625", "--crop", "64x128", "--batch-size", "4"]
    arguments += ["--learning-rate", "2e-3", "--steps", "100", "--loader-workers", "0", "--device", "cpu"]
    result = CliRunner().invoke(main, ["fit", str(tmp_path / "seen"), "--out", str(out), *arguments])
    assert result.exit_code == 0, result.output
    about = inspect_checkpoint(out / "predictor.safetensors").about
    scores = about["scores"]
    assert scores["error"] < 0.995 * scores["error_of_input_flow"]
    assert f"photometric error {scores['error']:.3f}, of its input flow alone" in result.output
    assert (about["steps"], about["recipe"]["input_flow"]) == (100, "dis")


def test_a_killed_training_goes_on_to_the_same_weights(settings: FitConfig, moving: Path, tmp_path: Path) -> None:
    """The uninterrupted one reads in the process itself, and saves rarely."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ["--width", "0.05", "--crop", "32x48", "--batch-size", "2", "--steps", "24", "--save-every", "5"]
    options += ["--loader-workers", "1"]
    process = run_fit(moving, killed, *options)
    while not (killed / "checkpoint.pt").exists():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = load_checkpoint(killed)
    assert saved is not None
    assert 5 <= saved["step"] < 24
    for out, loader_workers in ((whole, 0), (killed, 1)):
        again = replace(settings, validation=(), out=out, steps=24, save_every=1000, loader_workers=loader_workers)
        assert fit(again).steps == 24
    assert_equal_runs(whole, killed)


@pytest.fixture
def settings(moving: Path, tmp_path: Path) -> Iterator[FitConfig]:
    """A training of seconds, on one thread: threads of so small a network wait more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    unseen = Path(shutil.copytree(moving, tmp_path / "unseen"))
    yield FitConfig(sources=(moving,), validation=(unseen,), out=tmp_path / "run", steps=4, save_every=2, **TINY)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("SDCNet2D", "float32"), ("SDCNet2DRecon", "float32"), ("SDCNet2DRecon", "bfloat16"), ("SDCNet2D", "float16")],
)
def test_a_run_folder_holds_all_there_is_to_know(settings: FitConfig, kind: str, dtype: str) -> None:
    told: list[Advance] = []
    summary = fit(replace(settings, architecture=kind, dtype=dtype), told.append)
    assert (told[0], told[-1].step) == (Advance(0, 4), 4)
    assert told[-1].line is not None
    assert told[-1].line.startswith("step 4: photometric error")
    network = load_predictor(settings.out / "predictor.safetensors")
    assert (type(network).__name__, network.width, network.num_history) == (kind, 0.05, 2)
    lines = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    assert lines[0]["versions"]["torch"] == torch.__version__
    assert {"loss/colour", "loss/gradient", "loss/smoothness", "loss/total", "learning_rate"} < lines[1].keys()
    assert summary.scores is not None
    assert lines[2]["error"] == summary.scores.error
    assert summary.scores.num_windows == 8
    assert json.loads((settings.out / "config.json").read_text())["settings"]["architecture"] == kind
    assert list(settings.out.glob("events.out.tfevents.*"))
    again = fit(replace(settings, architecture=kind, dtype=dtype, loader_workers=1, save_every=1))
    assert again.scores == summary.scores
    assert len((settings.out / "log.jsonl").read_text().splitlines()) == 3  # nothing was left to do


def test_flows_of_the_step_are_those_of_the_loader(settings: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's flows are computed beside the step, on the device: here DIS takes the place of FlowNet2."""
    fit(settings)
    monkeypatch.setattr(task, "open_pair_flow", lambda *_: DisPairs())
    other = replace(settings, input_flow="flownet2", out=settings.out.with_name("other"))
    fit(other)
    assert_equal_runs(settings.out, other.out)


@pytest.mark.usefixtures("settings")
def test_scores_are_those_of_the_warped_frames(moving: Path) -> None:
    """A network that returns its input flow scores as that flow does, which is computed here anew."""
    runtime = open_runtime("cpu")
    network = runtime.prepare(SDCNet2D(width=0.05))
    initialise(network, 0)
    errors = []
    for sequence in open_sequences([moving]):
        for start in range(4):
            frames = sequence.frames(start, start + 3)
            flow = DisPairs()(frames[1:2], frames[:1])  # the newest that a prediction sees
            errors.append((warp_frames(frames[1:2].float(), flow) - frames[2:].float()).abs().mean().item())
    scores = validate(network, Windows(open_sequences([moving]), 3), DisPairs(), runtime)
    assert scores.error_of_input_flow == pytest.approx(sum(errors) / 8, rel=1e-6)
    assert scores.error == pytest.approx(scores.error_of_input_flow, rel=1e-4)


def test_a_network_is_validated_on_blue_green_and_red(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is trained, and as published."""
    runtime = open_runtime("cpu")
    network = runtime.prepare(SDCNet2D(width=0.05))
    windows = Windows(open_sequences([moving]), 3)
    seen: list[Tensor] = []

    def displacement(frames: Tensor, flows: Tensor) -> Tensor:
        seen.append(frames)
        return flows[:, -1]

    monkeypatch.setattr(network, "displacement", displacement)
    validate(network, windows, DisPairs(), runtime)
    sequence, start = windows.place(0)
    rgb = windows.sequences[sequence].frames(start, start + 2)
    assert torch.equal(seen[0][0], rgb.flip(1))


def test_the_file_holds_the_average(settings: FitConfig) -> None:
    fit(settings)
    state = load_checkpoint(settings.out)
    assert state is not None
    kept = weights(settings.out)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state["average"].items())
    assert any(not torch.equal(tensor, kept[name]) for name, tensor in state["network"].items())


def test_other_settings_do_not_go_on_with_a_training(settings: FitConfig, moving: Path) -> None:
    fit(settings)
    with pytest.raises(
        RunFolderError, match=r"other settings was begun here \(batch_size: 2 then, 4 now; seed: 0 then, 1 now"
    ):
        fit(replace(settings, batch_size=4, seed=1))
    with pytest.raises(RunFolderError, match=r"sources: .*'sequences': 2.* then, .*'sequences': 4.* now"):
        fit(replace(settings, sources=(moving, moving)))
    (settings.out / "config.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"config.json: cannot be read .*; choose another --out"):
        fit(settings)


def test_folders_of_others_are_left_alone(settings: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.out.mkdir()
    (settings.out / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match=r"holds 'thesis.tex' but no config.json, so no training was begun here"):
        fit(settings)
    monkeypatch.setattr(run_folder, "RELEASE_SECONDS", 0)
    with locked(settings.out), pytest.raises(RunFolderError, match="another training writes to it; wait for its end"):
        fit(settings)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(settings: FitConfig) -> None:
    settings = replace(settings, learning_rate=1e30, steps=50, save_every=1)
    with pytest.raises(FitError, match=r"loss or gradient of step \d+ is not finite .*frames from \d on") as caught:
        fit(settings)
    saved = load_checkpoint(settings.out)
    assert saved is not None
    assert f"of step {saved['step']} is not finite" in str(caught.value)


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_frame_that_cannot_be_read_is_named(settings: FitConfig, tmp_path: Path, loader_workers: int) -> None:
    (source := tmp_path / "source").mkdir()
    for path in settings.sources[0].iterdir():
        data = path.read_bytes()
        (source / path.name).write_bytes(data[: len(data) // 2] if path.name == "a_3.png" else data)
    with pytest.raises(FrameError, match=r"a_3.png: an image that cannot be decoded") as caught:
        fit(replace(settings, sources=(source,), validation=(), loader_workers=loader_workers, steps=50))
    assert caught.value.path == str(source / "a_3.png")


def test_a_full_disk_leaves_the_last_checkpoint(settings: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(settings)
    before = (settings.out / "checkpoint.pt").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunFolderError, match=r"checkpoint.pt: cannot be written \(No space left on device\); what was saved"
    ):
        save_checkpoint(settings.out, {"step": 5})
    assert (settings.out / "checkpoint.pt").read_bytes() == before
    assert not list(settings.out.glob("*.partial"))


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda _: b"", lambda _: b"text"])
def test_a_damaged_checkpoint_is_named(settings: FitConfig, damage: Callable[[bytes], bytes]) -> None:
    settings.out.mkdir()
    save_checkpoint(settings.out, {"step": 5})
    path = settings.out / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunFolderError, match=r"checkpoint.pt: damaged \(.*\); remove it to train from the beginning"):
        load_checkpoint(settings.out)


def test_what_makes_no_sense_is_refused(settings: FitConfig) -> None:
    for rate in (0.0, inf, nan):
        with pytest.raises(ValueError, match="learning_rate must be a number above 0"):
            replace(settings, learning_rate=rate)
    with pytest.raises(ValueError, match="flownet2_weights are of --input-flow flownet2, found dis"):
        replace(settings, flownet2_weights=Path("flownet2.pth"))


def test_a_finished_training_whose_network_is_gone_says_so(settings: FitConfig) -> None:
    fit(replace(settings, steps=1))
    (settings.out / "predictor.safetensors").unlink()
    with pytest.raises(RunFolderError, match=r"this training is finished, but predictor\.safetensors is gone"):
        fit(replace(settings, steps=1))


def test_crops_and_weights_must_fit(settings: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(FitError, match=r"a_0.png…a_5.png: frames of 40x64 are smaller than the crop of 48x48"):
        fit(replace(settings, crop=(48, 48)))
    save_network(tmp_path / "start.safetensors", SDCNet2D(width=0.05), about={})
    config = replace(settings, weights=tmp_path / "start.safetensors")
    message = "holds SDCNet2D with --history 2 --width 0.05, asked for was SDCNet2DRecon with --history 2 --width 0.05"
    with pytest.raises(FitError, match=message):
        fit(config)
    fit(replace(config, architecture="SDCNet2D", out=tmp_path / "other"))


def test_two_members_learn_as_one_does(settings: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same samples, shared; sums of gradients are rounded otherwise."""
    monkeypatch.setattr(loop, "launch", launch_spawned)
    settings = replace(settings, steps=2, validation=())
    fit(settings)
    both = replace(settings, out=tmp_path / "both", num_workers=2)
    told: list[Advance] = []
    assert fit(both, told.append).steps == 2
    assert told[-1].step == 2
    alone, together = (load_checkpoint(config.out) for config in (settings, both))
    assert alone is not None
    assert together is not None
    for number, state in alone["optimizer"]["state"].items():  # of the gradients: Adam's steps have one size at first
        torch.testing.assert_close(
            together["optimizer"]["state"][number]["exp_avg"], state["exp_avg"], rtol=1e-3, atol=1e-7
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "3", "--workers", "2"], "a batch of 3 cannot be shared equally by 2 workers"),
        (["--architecture", "SDCNet2D", "--history", "1"], "needs flows, so two frames or more"),
        (["--learning-rate", "0"], "learning_rate must be a number above 0, found 0.0"),
        (["--width", "0"], "width must be a number above 0"),
        (["--crop", "0x4"], "'0x4' is not HxW"),
        (["--schedule", "cosin"], "'cosin' is not one of 'cosine', 'poly'; did you mean 'cosine'?"),
    ],
)
def test_settings_that_make_no_sense_are_usage_errors(tmp_path: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["fit", str(tmp_path), "--out", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_failure_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fit", str(tmp_path), "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path}: neither images nor videos in this folder")
