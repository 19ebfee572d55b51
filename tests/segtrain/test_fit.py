"""`segtrain fit`: a step against the published one, exact resumption, crews, what stops it, and that it learns."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from golden.fill import fill
from torch import Tensor, nn

from jobs.console.progress import Advance
from jobs.errors import CheckpointError, FitError, RunFolderError
from jobs.training.run_folder import load_checkpoint, locked
from jobs.training.runtime import Runtime
from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import DatasetError, StoreError
from segtrain.checkpoints import read_checkpoint, save_network
from segtrain.cli.main import main
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.data.sampling import ANYWHERE, Epoch
from segtrain.errors import DataError
from segtrain.fit.objective import open_objective
from segtrain.fit.task import learning_rate, open_state, positions_of
from segtrain.fit.training import fit
from segtrain.fit.validation import evaluating, spread
from segtrain.losses.objective import StepOutput
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network

GOLDEN = Path(__file__).parents[1] / "golden"
RATES = json.loads((GOLDEN / "segmentation_misc.json").read_text())["lr"]
CITYSCAPES = load_classes("cityscapes")
CAMVID = load_classes("camvid")
TINY: dict[str, Any] = {
    "network": "mobilenetv2",
    "output_stride": 16,
    "class_uniform_tile": 64,
    "crop": (64, 64),
    "batch_size": 2,
    "epochs": 2,
    "epoch_length": 6,
    "learning_rate": 0.01,
    "loader_workers": 0,
    "device": "cpu",
}
NETWORK = "--network mobilenetv2 --output-stride 16 --class-uniform-tile 64"  # of TINY, as it is typed
MakeSample = Callable[..., Sample]
SaveStore = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of so small a network wait more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def roads(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic streets: two snippets to train on, one to validate on; three annotated frames."""
    root = tmp_path_factory.mktemp("roads")
    for kind in ("gtFine", "leftImg8bit_sequence"):
        for path in (street / kind).rglob("*.png"):
            split = "val" if "_000002_" in path.name else "train"
            link = root / kind / split / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return root


@pytest.fixture
def config(roads: Path, tmp_path: Path) -> FitConfig:
    """A training of two epochs of three steps."""
    return FitConfig(root=roads, out=tmp_path / "run", **TINY)


@pytest.fixture
def store_config(tmp_path: Path) -> Callable[[Path], FitConfig]:
    """A training on a store, without validation."""
    return lambda store: FitConfig(shards=(store,), out=tmp_path / "run", **TINY)


def checkpoint(out: Path) -> dict[str, Any]:
    saved = load_checkpoint(out)
    assert saved is not None
    return saved


def moments(out: Path) -> list[Tensor]:
    """Of SGD: after two steps, the sums of the gradients, the first one weighing less."""
    return [state["momentum_buffer"] for state in checkpoint(out)["optimiser"]["state"].values()]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_same_tensors(one: Mapping[Any, Tensor], other: Mapping[Any, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def assert_equal_runs(one: Path, other: Path) -> None:
    """The same weights, averages, moments and files, bit for bit."""
    first, second = checkpoint(one), checkpoint(other)
    for part in ("network", "average"):
        assert_same_tensors(first[part], second[part])
    for number, state in first["optimiser"]["state"].items():
        assert_same_tensors(state, second["optimiser"]["state"][number])
    assert (first["step"], first["best"], first["scores"]) == (second["step"], second["best"], second["scores"])
    for name in ("last.safetensors", "best.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def assert_close_moments(one: Path, other: Path) -> None:
    """Each tensor's difference, relative to its norm: sums of gradients are rounded otherwise."""
    for first, second in zip(moments(one), moments(other), strict=True):
        assert (first - second).norm() <= 1e-4 * second.norm()


# Against the published system


@pytest.mark.parametrize("name", RATES)
def test_rates_of_the_training_are_the_published_ones(name: str) -> None:
    args, table = RATES[name]["args"], RATES[name]["lambda_of_epoch"]
    is_poly = args["schedule"] == "poly"
    config = FitConfig(
        root=Path("data"),
        out=Path("run"),
        epochs=args["max_epoch"],
        learning_rate=0.002,
        schedule="poly" if is_poly else "scaled-poly",
        power=args["poly_exp"],
        **({} if is_poly else {"relax_until": args["rlx_off_epoch"] - 1, "restart_rate": args["rescale"]}),
        **({} if is_poly else {"restart_power": args["repoly"]}),
    )
    rates = [learning_rate(config, epoch) for epoch in range(config.epochs)]
    assert rates == pytest.approx([0.002 * factor for factor in table[:-1]], abs=1e-12)
    if not is_poly:  # without labels that are relaxed no longer, the restart is said
        again = replace(config, relax_until=None, restart=args["rlx_off_epoch"])
        assert [learning_rate(again, epoch) for epoch in range(config.epochs)] == rates


def test_cosine_rates_fall_from_step_to_step() -> None:
    config = FitConfig(root=Path("data"), out=Path("run"), epochs=10, learning_rate=0.4, schedule="cosine")
    rates = [learning_rate(config, step / 4) for step in range(40)]
    assert rates[0] == 0.4
    assert rates[20] == pytest.approx(0.2)
    assert all(late < early for early, late in pairwise(rates))
    assert rates[-1] > 0


@pytest.fixture(scope="module")
def published_step() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "segmentation_train_step.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def test_a_step_goes_down_the_published_gradient(published_step: dict[str, np.ndarray]) -> None:
    """In float64, as the published numbers; the network's statistics too, of which the moving average has a copy."""
    with torch.device("meta"):
        network = build_network("resnet50")
    network = network.to_empty(device="cpu")
    fill(network)
    config = FitConfig(
        root=Path("data"), out=Path("run"), loss="cross-entropy", momentum=0.9, weight_decay=1e-4, average=0.5
    )
    state = open_state(network.double().train(), config, Runtime(device=torch.device("cpu")))
    objective = open_objective(config, CITYSCAPES.train_names)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    batch = Batch(torch.from_numpy(published_step["image"]), torch.from_numpy(published_step["label"]))
    logits = network(normalised(batch.image).double())
    loss = objective(StepOutput(logits=logits, batch=batch, epoch=0)).total
    assert loss.item() == pytest.approx(float(published_step["resnet50_ce_loss"]), rel=1e-7)
    state.backward(loss)
    assert state.update(0.01, loss.detach())
    weights, averages = dict(network.named_parameters()), dict(state.average.named_parameters())
    prefix = "resnet50_ce_grad_"
    gradients = {key.removeprefix(prefix): array for key, array in published_step.items() if key.startswith(prefix)}
    assert len(gradients) == 5
    for name, gradient in gradients.items():
        step = 0.01 * (torch.from_numpy(gradient) + 1e-4 * before[name])
        assert ((before[name] - weights[name]) - step).norm() < 1e-5 * step.norm()
        kept = 2 / 11  # (1 + 1)/(10 + 1), less than 0.5
        torch.testing.assert_close(averages[name], (kept * before[name] + (1 - kept) * weights[name]).detach())
    assert_same_tensors(dict(network.named_buffers()), dict(state.average.named_buffers()))


# Exactness


def test_a_killed_training_goes_on_to_the_same_weights(config: FitConfig, tmp_path: Path) -> None:
    """Killed in the middle of an epoch; the uninterrupted one reads in the process itself, and saves rarely."""
    config = replace(config, epoch_length=40, save_every=1000, average=0.9, max_val_images=1)
    killed = replace(config, out=tmp_path / "killed", save_every=3, loader_workers=1)
    command = [sys.executable, "-m", "segtrain", "fit", "--out", str(killed.out), "--root", str(config.root)]
    options = f"{NETWORK} --crop 64x64 --batch-size 2 --epochs 2 --epoch-length 40 --learning-rate 0.01 --average 0.9"
    command += f"{options} --max-val-images 1 --save-every 3 --loader-workers 1 --device cpu".split()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    while not (killed.out / "checkpoint.pt").exists():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint(killed.out)["step"] % 20 > 0
    for each in (config, killed):
        assert fit(each).steps == 40
    assert_equal_runs(config.out, killed.out)


def test_members_share_the_steps_of_one() -> None:
    everywhere = np.full(10, ANYWHERE)
    epoch = Epoch(0, 0, np.arange(10), everywhere, everywhere, everywhere, ())
    config = FitConfig(root=Path("data"), out=Path("run"), batch_size=8, accumulate=2, workers=2)

    def steps(num_members: int, accumulate: int) -> list[set[int]]:
        shares = [
            positions_of(epoch, range(1, 2), replace(config, accumulate=accumulate), member)
            for member in members(num_members)
        ]
        assert all(len(part) == 8 // num_members // accumulate for share in shares for part in share)
        return [set().union(*(position for share in shares for position in share))]

    whole = steps(1, 1)
    assert whole == [{8, 9, 0, 1, 2, 3, 4, 5}]  # filled up with the first
    assert steps(2, 1) == steps(1, 2) == steps(2, 2) == steps(4, 2) == whole


def members(number: int) -> list[Any]:
    from jobs.crew.member import Member

    return [Member(rank, number, torch.device("cpu"), 0) for rank in range(number)]


@pytest.fixture
def alone(config: FitConfig, tmp_path: Path) -> FitConfig:
    """Two steps of four images by one member, done, from weights with useful batch norms, which are now frozen."""
    before = replace(config, val_split=None, batch_size=4, epoch_length=20, out=tmp_path / "before")
    fit(before)
    alone = replace(
        config,
        weights=before.out / "last.safetensors",
        freeze_batch_norm=True,
        batch_size=4,
        epochs=1,
        epoch_length=8,
    )
    fit(alone)
    return alone


def test_parts_of_a_step_add_up_to_it(alone: FitConfig, tmp_path: Path) -> None:
    parts = replace(alone, accumulate=2, out=tmp_path / "parts")
    assert fit(parts).steps == 2
    assert_close_moments(parts.out, alone.out)
    other = replace(alone, seed=1, out=tmp_path / "other")
    fit(other)
    with pytest.raises(AssertionError):
        assert_close_moments(other.out, alone.out)


def test_two_members_learn_as_one_does(alone: FitConfig, tmp_path: Path) -> None:
    """On Ray, each in two parts; they validate together, and one of them tells."""
    both = replace(alone, workers=2, accumulate=2, out=tmp_path / "both")
    told: list[Advance] = []
    summary = fit(both, told.append)
    assert summary.steps == 2
    assert summary.scores is not None
    assert [advance.line for advance in told[1:] if advance.line] == [f"epoch 1: {summary.scores}"]
    assert_close_moments(both.out, alone.out)


def test_frozen_batch_norms_stay_frozen(config: FitConfig) -> None:
    """Also after a validation, for which the network is the one that learns."""
    fit(replace(config, freeze_batch_norm=True))
    state = checkpoint(config.out)["network"]
    assert all((state[name] == 0).all() for name in state if name.endswith(("running_mean", "num_batches_tracked")))


def test_evaluation_gives_each_layer_its_mode_back() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1).eval(), nn.BatchNorm2d(1)).train()
    network[0].eval()
    with evaluating(network):
        assert not any(layer.training for layer in network.modules())
    assert [layer.training for layer in network.modules()] == [True, False, True]


def test_images_to_validate_on_are_spread_evenly() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 10) == spread(3, None) == [0, 1, 2]
    assert spread(7, 1) == [0]


# What it leaves behind


def test_it_learns_and_leaves_what_a_page_of_it_needs(roads: Path, tmp_path: Path) -> None:
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


def again(roads: Path, out: Path, options: str) -> str:
    """The same command: there is nothing left to do."""
    return CliRunner().invoke(main, ["fit", "--root", str(roads), "--out", str(out), *options.split()]).stdout


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_and_every_loss_train(config: FitConfig, tmp_path: Path, dtype: str) -> None:
    for loss in ("relaxed", "cross-entropy", "image-weighted", "ohem"):
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


def test_a_step_that_is_left_out_leaves_nothing_behind() -> None:
    """In float16 the first one often is; memory that was not zero must not become a moment."""
    config = FitConfig(root=Path("data"), out=Path("run"), momentum=0.9, weight_decay=0, learning_rate=0.5)
    network = nn.Linear(64, 64, bias=False)
    state = open_state(network, config, Runtime(device=torch.device("cpu"), dtype=torch.float16))  # type: ignore[arg-type]
    before = network.weight.detach().clone()
    used = [torch.full((64, 64), 1e30) for _ in range(50)]
    del used
    for size, expected in ((1e35, before), (1.0, before - 0.5)):
        loss = (network.weight * size).sum()
        state.backward(loss)
        assert state.update(0.5, loss.detach())
        torch.testing.assert_close(network.weight.detach(), expected)


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


# What stops it


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(config: FitConfig) -> None:
    config = replace(config, learning_rate=1e30, save_every=1, val_split=None)
    with pytest.raises(
        FitError, match=r"loss or gradient of step \d is not finite \(epoch 1, loss .*in a batch of synthburg_0"
    ) as caught:
        fit(config)
    assert f"of step {checkpoint(config.out)['step']} is" in str(caught.value)


def test_scores_that_are_no_numbers_stop_and_keep_the_last_checkpoint(config: FitConfig) -> None:
    """One step an epoch: its validation is the first to see what it has done."""
    config = replace(config, epoch_length=2, learning_rate=1e30)
    with pytest.raises(FitError, match=r"cannot be validated: the network's scores are not finite.*train anew with"):
        fit(config)
    assert load_checkpoint(config.out) is None


def test_a_full_disk_leaves_the_last_checkpoint(config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, save_every=1, average=0.9)
    whole = replace(config, out=config.out.with_name("whole"))
    fit(whole)

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def after_epoch(advance: Advance) -> None:
        if advance.step and advance.line:
            monkeypatch.setattr(os, "fsync", no_space)

    with pytest.raises((RunFolderError, CheckpointError), match=r"cannot be written .*No space left on device"):
        fit(config, after_epoch)
    monkeypatch.undo()
    assert checkpoint(config.out)["step"] == 3
    assert not list(config.out.glob(".*.partial"))
    fit(config)
    assert_equal_runs(config.out, whole.out)


def test_other_settings_do_not_go_on_with_a_training(config: FitConfig) -> None:
    fit(replace(config, epochs=1))
    with pytest.raises(
        RunFolderError, match=r"other settings was begun here \(epochs: 1 then, 2 now; learning_rate: 0\.01 then, 0\.1"
    ):
        fit(replace(config, learning_rate=0.1))
    with pytest.raises(RunFolderError, match=r"validation: {'samples': 1, .*} then, None now"):
        fit(replace(config, epochs=1, val_split=None))
    passing = replace(config, epochs=1, save_every=1, loader_workers=1)
    assert fit(passing).steps == 3


def test_folders_of_others_are_left_alone(config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config.out.mkdir()
    (config.out / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match=r"holds 'thesis.tex' but no config.json, so no training was begun here"):
        fit(config)
    monkeypatch.setattr("jobs.training.run_folder.RELEASE_SECONDS", 0)
    with locked(config.out), pytest.raises(RunFolderError, match="another training writes to it; wait for its end"):
        fit(config)


def test_weights_must_fit_and_may_be_given_then(config: FitConfig, tmp_path: Path) -> None:
    """What stopped a training that has saved nothing does not bind the next one in its folder."""
    few = build_network("mobilenetv2", num_classes=5, output_stride=16)
    save_network(tmp_path / "few.safetensors", few, class_names="abcde", about={})
    save_network(
        tmp_path / "other.safetensors", build_network("resnet18"), class_names=CITYSCAPES.train_names, about={}
    )
    with pytest.raises(CheckpointError, match=r"says that it holds resnet18, asked for was mobilenetv2\. Ask for"):
        fit(replace(config, weights=tmp_path / "other.safetensors"))
    config = replace(config, weights=tmp_path / "few.safetensors", learning_rate=1e-12, epochs=1)
    with pytest.raises(CheckpointError, match=r"scores 5 classes, the network 19\. Ask for a new head \(--new-head\)"):
        fit(config)
    fit(replace(config, new_head=True))
    weights = dict(few.named_parameters())
    found = read_checkpoint(config.out / "last.safetensors").tensors
    head = weights.pop("final.6.weight")
    assert all(torch.allclose(weight, found[name]) for name, weight in weights.items())
    assert (len(head), len(found["final.6.weight"])) == (5, 19)


def test_one_image_at_a_time_needs_frozen_batch_norms(config: FitConfig) -> None:
    with pytest.raises(FitError, match=r"a batch of 2 in 2 parts gives 1 image at a time.*or add --freeze-batch-norm"):
        fit(replace(config, accumulate=2))
    frozen = replace(config, accumulate=2, freeze_batch_norm=True, learning_rate=1e-4, epochs=1)
    assert fit(frozen).steps == 3


def test_frames_are_not_both_trained_on_and_validated_on(config: FitConfig) -> None:
    with pytest.raises(DataError, match="2 frames are both trained on and validated on: synthburg_000000"):
        fit(replace(config, val_split="train"))
    with pytest.raises(DatasetError, match="no labels of a split 'test'; there are labels of: train, val"):
        fit(replace(config, val_split="test"))
    assert not config.out.exists()


def test_classes_are_those_of_the_data(config: FitConfig, save_store: SaveStore, make_sample: MakeSample) -> None:
    with pytest.raises(FitError, match="boost: no classes dragon; there are road, sidewalk"):
        fit(replace(config, boost={"dragon": 2.0}))
    with pytest.raises(FitError, match="strict_classes: no classes dragon; there are road, sidewalk"):
        fit(replace(config, strict_classes=("dragon",)))
    store = save_store([[make_sample(0)]], CAMVID)
    with pytest.raises(FitError, match=r"roads.*: has classes road, .*, trained on are Sky.*; give --classes for both"):
        fit(replace(config, shards=(store,)))


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_damaged_store_is_named(
    store_config: Callable[[Path], FitConfig], save_store: SaveStore, make_sample: MakeSample, loader_workers: int
) -> None:
    store = save_store([[make_sample(number) for number in range(3)]], CAMVID)
    shard = store / "shard-00000.h5"
    with h5py.File(shard) as file:
        place = file["label"].id.get_chunk_info(1)
    data = bytearray(shard.read_bytes())
    data[place.byte_offset + place.size // 2] ^= 0xFF
    shard.write_bytes(data)
    config = replace(store_config(store), loader_workers=loader_workers)
    with pytest.raises(StoreError, match=r"shard-00000\.h5: sample 'seq_000001' .* cannot be read .*propagate verify"):
        fit(config)
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match=r"shard-00000\.h5: "):
        fit(config)


def test_stores_must_hold_samples_of_known_classes(
    store_config: Callable[[Path], FitConfig], save_store: SaveStore, make_sample: MakeSample
) -> None:
    unknown = np.full((70, 90), 200, np.uint8)
    store = save_store([[make_sample(0), make_sample(1, label=unknown)]], CAMVID)
    message = r"sample 'seq_000001' has label ids \[200\], which are not in the class table 'camvid'"
    with pytest.raises(DataError, match=message):
        fit(store_config(store))


def test_a_store_without_samples_is_named(store_config: Callable[[Path], FitConfig], save_store: SaveStore) -> None:
    with pytest.raises(DataError, match="store: a store without any sample; `propagate info` says why"):
        fit(store_config(save_store([], CAMVID)))


def test_a_failure_is_one_sentence(tmp_path: Path) -> None:
    arguments = ["fit", "--root", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
