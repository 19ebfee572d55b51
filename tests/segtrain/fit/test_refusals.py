"""What stops a training: numbers that are none, full disks, other settings, other data; and what it keeps then."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.classes import named_classes
from helpers.runs import assert_equal_runs, checkpoint

from jobs.console.progress import Advance
from jobs.errors import CheckpointError, FitError, RunFolderError, TooLargeError
from jobs.training.run_folder import load_checkpoint, locked
from jobs.training.state import TrainState
from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from segtrain.checkpoints import read_checkpoint, save_network
from segtrain.cli.main import main
from segtrain.config import FitConfig
from segtrain.errors import DataError
from segtrain.fit.task import new_network, require_several_images
from segtrain.fit.training import fit
from segtrain.models.registry import build_network

CITYSCAPES = load_classes("cityscapes")
CAMVID = load_classes("camvid")
MakeSample = Callable[..., Sample]
SaveStore = Callable[..., Path]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(config: FitConfig) -> None:
    config = replace(config, learning_rate=1e30, save_every=1, val_split=None)
    with pytest.raises(
        FitError, match=r"loss or gradient of step \d is not finite \(epoch 1, loss .*in a batch of synthburg_0"
    ) as caught:
        fit(config)
    assert f"of step {checkpoint(config.out)['step']} is" in str(caught.value)
    assert f"The last checkpoint in {config.out} is kept; train anew with" in str(caught.value)
    with pytest.raises(FitError, match=r"in a batch of [\w, ]+; train anew with") as caught:
        fit(replace(config, save_every=500, out=config.out.with_name("unsaved")))
    assert "is kept" not in str(caught.value)


def test_scores_that_are_no_numbers_stop_before_anything_is_saved(config: FitConfig) -> None:
    """One step an epoch: its validation is the first to see what it has done."""
    config = replace(config, epoch_length=2, learning_rate=1e30)
    with pytest.raises(FitError, match=r"cannot be validated: the network's scores are not finite.*Train anew with"):
        fit(config)
    assert load_checkpoint(config.out) is None


def test_an_output_stride_that_the_network_does_not_have_is_refused_before_anything_is_written(
    config: FitConfig,
) -> None:
    with pytest.raises(FitError, match=r"fcn8s has an output stride of 8, asked for was 16; give --output-stride 8"):
        fit(replace(config, network="fcn8s"))
    assert not config.out.exists()


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


def test_a_training_of_before_there_were_class_weights_goes_on(config: FitConfig) -> None:
    fit(replace(config, epochs=1))
    record = json.loads((config.out / "config.json").read_text())
    assert record["settings"].pop("class_weights") == {}
    (config.out / "config.json").write_text(json.dumps(record))
    assert fit(replace(config, epochs=1)).steps == 3
    with pytest.raises(RunFolderError, match=r"class_weights: {} then, {'road': 2.0} now"):
        fit(replace(config, epochs=1, class_weights={"road": 2.0}))


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
    save_network(tmp_path / "few.safetensors", few, classes=named_classes("abcde"), about={})
    save_network(tmp_path / "other.safetensors", build_network("resnet18"), classes=CITYSCAPES, about={})
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
    with pytest.raises(
        FitError, match=r"no labels of a split 'test'; there are labels of: train, val.*--val-split none"
    ):
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
    store_config: Callable[[Path], FitConfig],
    save_store: SaveStore,
    make_sample: MakeSample,
    loader_workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("segtrain.fit.sources.ALWAYS_PROVEN_BYTES", 0)
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
    arguments = ["fit", "--recipe", "tiny", "--root", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("recipe tiny\nError: ")
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
def test_a_finished_training_whose_networks_are_gone_says_so(config: FitConfig, name: str) -> None:
    config = replace(config, epochs=1)
    fit(config)
    (config.out / name).unlink()
    with pytest.raises(RunFolderError, match=rf"this training is finished, but {name} is gone; put it back"):
        fit(config)


def test_memory_that_runs_out_in_a_step_is_one_sentence(config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(TrainState, "backward", full)
    with pytest.raises(TooLargeError, match=r"out of memory on cpu in a step of training; choose .* a smaller --crop"):
        fit(config)


def test_a_network_without_batch_norms_learns_from_one_image_at_a_time(config: FitConfig) -> None:
    one = replace(config, network="fcn8s", output_stride=8, batch_size=1)
    network = build_network("fcn8s", num_classes=2, output_stride=8)
    require_several_images(one, network, is_synchronised=False)
    with pytest.raises(FitError, match="gives 1 image at a time"):
        require_several_images(one, build_network("mobilenetv2", num_classes=2), is_synchronised=False)


def test_scores_of_other_classes_of_the_same_number_are_told(
    config: FitConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, names = tmp_path / "reversed.safetensors", CITYSCAPES.train_names[::-1]
    network = build_network("mobilenetv2", num_classes=19, output_stride=16)
    save_network(path, network, classes=named_classes(names), about={})
    begun = replace(config, weights=path)
    new_network(begun, CITYSCAPES.train_names)
    assert "scores 'bicycle' where 'road' is trained on, 18 of 19 classes are others; --new-head" in caplog.text
    caplog.clear()
    new_network(begun, names)
    new_network(replace(begun, new_head=True), CITYSCAPES.train_names)
    assert not caplog.text
