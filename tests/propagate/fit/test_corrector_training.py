"""`propagate fit-corrector`: what it learns from, that labels become better by it, and that it goes on as it was."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.scores import matrix_of_store

from jobs.errors import FitError, JobError, RunFolderError
from jobs.training import run_folder
from jobs.training.runtime import open_runtime
from jobs.training.weights import digest
from propagate.carry.corrector import NEVER
from propagate.carry.paths import HostPath
from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.data.clip import Label, Resource
from propagate.data.images import read_label
from propagate.datasets.registry import DatasetOptions, open_dataset
from propagate.errors import DatasetError, InputError
from propagate.fit import task
from propagate.fit.config import FitConfig, TaughtMotion
from propagate.fit.examples import Example, ExampleMaker, Wanted, cut, place_of, wanted_examples
from propagate.fit.training import FitSummary, _thinned, fit_corrector
from propagate.fit.validation import validate
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import open_store
from sdcnet.errors import MotionError
from sdcnet.motion.classical import Dis, NoMotion

pytestmark = pytest.mark.slow
Cli = Callable[..., subprocess.CompletedProcess[str]]
TINY: dict[str, Any] = {"frames": 2, "examples": 4, "steps": 4, "batch_size": 2, "crop": (48, 64)}


def fitted(street: Path, out: Path, **settings: Any) -> FitSummary:
    """Labels are left in place, if nothing else is said."""
    motion = settings.pop("motion", TaughtMotion(name="none"))
    config = FitConfig(options=DatasetOptions(root=street), out=out, motion=motion, **{**TINY, **settings})
    return fit_corrector(config)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two of them, on cores that have other work, mostly wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def maker(street: Path) -> ExampleMaker:
    dataset = open_dataset("cityscapes", DatasetOptions(root=street))
    clips = dataset.clips(2)
    return ExampleMaker(
        classes=dataset.classes,
        estimator=NoMotion(),
        path=HostPath(),
        reads_vectors=False,
        known=truth_directory(street / "truth")([frame.key for clip in clips for frame in clip.frames.values()]),
    )


def test_every_annotated_frame_teaches_before_any_teaches_twice(street: Path) -> None:
    clips = open_dataset("cityscapes", DatasetOptions(root=street)).clips(2)
    found = wanted_examples(clips, 5, seed=1)
    assert sorted(len(each.offsets) for each in found) == [1, 2, 2]
    assert all(set(each.offsets) <= {-2, -1, 1, 2} for each in found)
    assert found == wanted_examples(clips, 5, seed=1)
    assert any(found != wanted_examples(clips, 5, seed=seed) for seed in range(2, 6))
    assert sum(len(each.offsets) for each in wanted_examples(clips, 100, seed=1)) == 12
    assert wanted_examples([replace(clip, label=None) for clip in clips], 5, seed=1) == []


def test_known_labels_teach_where_they_are_and_else_those_that_come_back(street: Path, maker: ExampleMaker) -> None:
    clip = open_dataset("cityscapes", DatasetOptions(root=street)).clips(2)[0]
    wanted = Wanted(clip=clip, offsets=(2,))
    truths = truth_directory(street / "truth")([clip.frames[2].key])
    assert clip.label is not None
    annotated, at_two = (
        maker.classes.train_id_of[read_label(label, maker.classes)]
        for label in (clip.label, truths[clip.frames[2].key])
    )
    (known,) = maker(wanted)
    assert np.array_equal(known.truth.numpy(), at_two)
    assert np.array_equal(known.classes.numpy(), annotated)  # left in place
    assert np.array_equal(known.frame.permute(1, 2, 0).numpy(), clip.frames[2].pixels())

    (cycle,) = replace(maker, known={}, estimator=Dis())(wanted)
    assert np.array_equal(cycle.truth.numpy(), annotated)
    assert np.array_equal(cycle.frame.permute(1, 2, 0).numpy(), clip.frames[0].pixels())
    assert 0.001 < cycle.wrong.float().mean() < 0.2
    there = cycle.classes != IGNORE_TRAIN_ID
    assert cycle.evidence[0].float()[cycle.wrong].mean() < cycle.evidence[0].float()[there & ~cycle.wrong].mean() - 0.1


def test_what_cannot_be_read_is_left_out_and_said(
    street: Path, maker: ExampleMaker, caplog: pytest.LogCaptureFixture
) -> None:
    clip = open_dataset("cityscapes", DatasetOptions(root=street)).clips(2)[0]

    class Gone:
        key, where, identity = "gone", "gone.png", ()

        def encoded(self) -> bytes | None:
            raise InputError("gone.png", "cannot be read (gone)")

    broken = replace(clip, frames={**clip.frames, 1: Gone()})
    found = maker(Wanted(clip=broken, offsets=(-1, 2)))
    assert len(found) == 1
    assert "left out: gone.png: cannot be read (gone)" in caplog.text


def test_windows_lie_around_what_is_wrong() -> None:
    truth = torch.zeros(40, 60, dtype=torch.uint8)
    classes = truth.clone()
    classes[31, 52] = 1
    truth[0, 0], classes[5, 5] = IGNORE_TRAIN_ID, IGNORE_TRAIN_ID
    whole = Example(torch.zeros(3, 40, 60, dtype=torch.uint8), classes, truth, torch.zeros(4, 40, 60))
    assert int(whole.wrong.sum()) == 1
    places = set()
    for seed in range(20):
        place = place_of(whole, (10, 16), np.random.default_rng(seed))
        window = cut(whole, place, (10, 16))
        assert window.truth.shape == (10, 16)
        assert int(window.wrong.sum()) == 1
        places.add(place)
    assert len(places) > 5
    assert cut(whole, place_of(whole, (100, 16), np.random.default_rng(0)), (100, 16)).truth.shape == (40, 16)


def test_a_run_with_the_corrector_has_better_labels_and_is_another_store(
    cli: Cli, street: Path, tmp_path: Path
) -> None:
    """Labels are left in place, so that colours alone say where things are by now."""
    teaching = ("--root", street, "--truth", street / "truth", "--motion", "none", "--frames", 4, "--examples", 24)
    settings = ("--steps", 200, "--learning-rate", 5e-3, "--crop", "64x96", "--batch-size", 4)
    process = cli("fit-corrector", *teaching, *settings, "--out", tmp_path / "fit")
    assert process.returncode == 0, process.stderr
    file = tmp_path / "fit" / "corrector.safetensors"
    assert f"{file}: 200 steps done" in process.stdout

    def run(out: str, *args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        options = ("--root", street, "--frames", 4, "--motion", "none", "--engine", "local", "--out", tmp_path / out)
        process = cli("run", *options, *args)
        assert process.returncode == code, process.stderr
        return process

    run("with", "--corrector", file)
    run("without")
    before, after = (matrix_of_store(tmp_path / out, street) for out in ("without", "with"))
    wrong, still_wrong = (1 - np.trace(matrix) / matrix.sum() for matrix in (before, after))
    assert still_wrong < 0.97 * wrong
    assert open_store(tmp_path / "with").manifest.settings["corrector"] == digest(file)
    assert "corrector: None in the store" in run("without", "--corrector", file, code=1).stderr
    assert "nothing to do" in run("with", "--corrector", file).stdout


def test_a_corrector_that_cannot_serve_is_refused_at_once(cli: Cli, street: Path, tmp_path: Path) -> None:
    def refusal(*args: object, code: int = 1) -> str:
        process = cli("run", "--root", street, "--out", tmp_path / "out", "--engine", "local", *args)
        assert process.returncode == code
        return process.stderr

    assert "gone" in refusal("--corrector", tmp_path / "gone")
    (tmp_path / "weights").write_text("no weights")
    assert "weights" in refusal("--corrector", tmp_path / "weights")
    assert "--corrector is for real frames" in refusal(
        "--corrector", tmp_path / "weights", "--pairing", "joint", code=2
    )
    assert not (tmp_path / "out").exists()


def test_a_training_goes_on_where_it_was_stopped(street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(street, tmp_path / "whole", save_every=2, validate_every=2)
    batches = task.CorrectorTask.batches

    def stopped(self: task.CorrectorTask, steps: range) -> Iterator[task.Batch]:
        for step, batch in zip(steps, batches(self, steps), strict=True):
            if step == 3:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(task.CorrectorTask, "batches", stopped)
        with pytest.raises(KeyboardInterrupt):
            fitted(street, tmp_path / "stopped", save_every=2, validate_every=2)
    resumed = fitted(street, tmp_path / "stopped", save_every=2, validate_every=2)
    assert (whole.steps, resumed.steps) == (4, 4)
    assert whole.weights.read_bytes() == resumed.weights.read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()]
    assert sum("versions" in line for line in lines) == 2


def test_no_label_that_teaches_is_of_a_frame_that_is_scored_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sequence of which each frame is annotated, and a neighbour of others that are."""
    assert not cli("synth", tmp_path / "dense", "--scene", "translate", "--snippets", 1, "--size", "64x128").returncode
    clips = open_dataset("cityscapes", DatasetOptions(root=tmp_path / "dense")).clips(2)
    assert len(clips) > 4
    targets: dict[str, set[str]] = {}
    make = ExampleMaker.__call__

    def watched(maker: ExampleMaker, wanted: Wanted) -> list[Example]:
        targets[wanted.clip.key] = {key if key in maker.known else wanted.clip.key for key in wanted.keys}
        return make(maker, wanted)

    monkeypatch.setattr(ExampleMaker, "__call__", watched)
    summary = fitted(tmp_path / "dense", tmp_path / "run", examples=100)
    assert summary.scores.num_frames > 0
    scored, *taught = targets.values()  # one of up to eight
    assert len(taught) == len(clips) - 1
    assert not scored & set().union(*taught)


def test_no_more_is_held_out_than_is_scored_on(street: Path) -> None:
    clips = open_dataset("cityscapes", DatasetOptions(root=street)).clips(2)
    for count, each in ((1, 4), (6, 4), (9, 2), (24, 1)):
        found = _thinned([Wanted(clip=clips[0], offsets=(-2, -1, 1, 2))] * count, seed=0)
        assert [len(wanted.offsets) for wanted in found] == [each] * count
        assert all(wanted.offsets == tuple(sorted(set(wanted.offsets))) for wanted in found)
    assert {offset for wanted in found for offset in wanted.offsets} == {-2, -1, 1, 2}, "near and far alike"


def test_a_finished_training_carries_nothing_again_and_other_labels_are_another_one(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(street, tmp_path / "run")

    def fail(maker: ExampleMaker, wanted: Wanted) -> list[Example]:  # noqa: ARG001
        raise AssertionError("carried again")

    with monkeypatch.context() as patch:
        patch.setattr(ExampleMaker, "__call__", fail)
        assert replace(fitted(street, tmp_path / "run"), seconds=0) == replace(whole, seconds=0)
    whole.weights.rename(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match=r"finished, but corrector\.safetensors is gone"):
        fitted(street, tmp_path / "run")
    shutil.copytree(street, tmp_path / "other")
    label = next((tmp_path / "other" / "gtFine").rglob("*_gtFine_labelIds.png"))
    label.write_bytes(label.read_bytes() + b"\0")
    with pytest.raises(RunFolderError, match="clips: 3, "):
        fitted(tmp_path / "other", tmp_path / "run")


def test_other_examples_than_it_began_with_are_refused(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(street, tmp_path / "run", save_every=2)
    saved = run_folder.load_checkpoint(tmp_path / "run")
    assert saved is not None
    run_folder.save_checkpoint(tmp_path / "run", {**saved, "step": 2})
    make = ExampleMaker.__call__
    monkeypatch.setattr(ExampleMaker, "__call__", lambda maker, wanted: make(maker, wanted)[:1])
    with pytest.raises(FitError, match="begun with other examples than those there are now"):
        fitted(street, tmp_path / "run", save_every=2, examples=4)


def test_what_came_before_a_failure_is_kept(
    street: Path, maker: ExampleMaker, caplog: pytest.LogCaptureFixture
) -> None:
    clip = open_dataset("cityscapes", DatasetOptions(root=street)).clips(2)[0]
    (damaged,) = (Label(Resource("gone", "gone.png", 1)),)
    labels = {**truth_directory(street / "truth")([clip.frames[1].key]), clip.frames[2].key: damaged}
    found = replace(maker, known=labels)(Wanted(clip=clip, offsets=(1, 2)))
    assert len(found) == 1
    assert "left out: gone/gone.png" in caplog.text


def test_a_batch_that_has_nothing_to_learn_from_costs_nothing(street: Path, tmp_path: Path) -> None:
    classes = open_dataset("cityscapes", DatasetOptions(root=street)).classes
    nothing = torch.full((1, 48, 64), IGNORE_TRAIN_ID, dtype=torch.uint8)
    example = Example(torch.zeros(3, 48, 64, dtype=torch.uint8), nothing[0], nothing[0], torch.zeros(4, 48, 64))
    config = FitConfig(options=DatasetOptions(root=street), out=tmp_path, **TINY)
    job = task.Job(config=config, settings={}, classes=classes, cell=2, examples=[example], held_out=[example])
    training = task.CorrectorTask(job, open_runtime("cpu"))
    batch = task.Batch(torch.zeros(1, 3, 48, 64), nothing, torch.zeros(1, 4, 48, 64), nothing)
    losses = training.losses(training.forward(training.network.eval(), batch))
    assert losses.total == 0
    assert validate(training.network, [example], open_runtime("cpu")).margin == NEVER


def test_what_cannot_be_trained_is_said(street: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="examples must be at least 2, found 1"):
        fitted(street, tmp_path / "run", examples=1)
    with pytest.raises(ValueError, match="learning_rate must be a number above 0"):
        fitted(street, tmp_path / "run", learning_rate=0.0)
    with pytest.raises(DatasetError, match="no true label map of any neighbour; --truth takes a directory"):
        fitted(street, tmp_path / "run", truth=street / "gtFine")
    assert not (tmp_path / "run").exists()


def test_crops_are_no_larger_than_frames(street: Path, tmp_path: Path) -> None:
    """Those of the street are smaller than crops usually are."""
    assert FitConfig(options=DatasetOptions(root=street), out=tmp_path).crop == (160, 224)
    fitted(street, tmp_path / "run", crop=(160, 224), steps=1)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["crop"] == [128, 224]


def test_the_device_is_of_the_training_whatever_the_motion(street: Path, tmp_path: Path) -> None:
    fitted(street, tmp_path / "run", motion=TaughtMotion(name="dis", device="cpu"), steps=1)
    with pytest.raises(MotionError, match="motion 'dis' has no setting dtype; leave it out"):
        TaughtMotion(name="dis", dtype="bfloat16")
    if not torch.cuda.is_available():
        with pytest.raises(JobError, match="a GPU is asked for, and there is none"):
            fitted(street, tmp_path / "gpu", motion=TaughtMotion(name="dis", device="cuda"), steps=1)


def test_rare_classes_weigh_more_up_to_a_limit() -> None:
    truth = torch.zeros(100, 100, dtype=torch.uint8)
    truth[:4] = 1
    truth[50:] = IGNORE_TRAIN_ID
    example = Example(torch.zeros(3, 100, 100, dtype=torch.uint8), truth, truth, torch.zeros(4, 100, 100))
    weights = task.class_weights([example], 3)
    share = torch.tensor([0.92, 0.08, 0.0])
    assert torch.allclose(weights, (share + task.RAREST).rsqrt())
