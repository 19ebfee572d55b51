"""Stores of refined samples: what is decided anew, what is copied, and that a run resumes and mixes up nothing."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.carried_samples import (
    BONNET,
    CARRIED,
    CLASSES,
    PLANTED,
    SIZE,
    UNSURE,
    VOID,
    carried_shards,
    classes_there,
    sample_of,
)
from helpers.stores import damage_chunk, write_store

from propagate.cli.main import main as propagate
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.shards.identity import Identity, identity_of
from propagate.shards.manifest import load_manifest, save_manifest
from propagate.shards.reader import open_store
from propagate.shards.schema import sample_digest
from segtrain.cli.main import main
from segtrain.pseudo import labelling
from segtrain.refine import refining
from segtrain.trained import TrainedNetwork

Refine = Callable[..., Result]


class Colourful(torch.nn.Module):
    """The class of a pixel is its brightest colour, as surely as it is told to be."""

    def __init__(self, sureness: float) -> None:
        super().__init__()
        self.sureness = sureness

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.sureness * images


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "store", carried_shards(), CLASSES)


@pytest.fixture
def sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a network that is always sure of the right class."""
    return network(tmp_path, monkeypatch, 20.0)


def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sureness: float) -> Path:
    trained = TrainedNetwork(network=Colourful(sureness), classes=CLASSES)  # type: ignore[arg-type]
    monkeypatch.setattr(labelling, "open_trained", lambda *_, **__: trained)
    path = tmp_path / f"network-{sureness}.safetensors"
    path.write_bytes(f"weights {sureness}".encode())
    return path


@pytest.fixture
def refine(store: Path, sure: Path, tmp_path: Path) -> Refine:
    """`segtrain refine` of the store into `out`, a clip to a shard, unless arguments say otherwise."""

    def call(*arguments: object, store: Path = store, weights: Path = sure, out: Path | None = None) -> Result:
        fixed = ("--engine", "local", "--scales", "1", "--clips-per-shard", 1, "--out", out or tmp_path / "out")
        return CliRunner().invoke(main, ["refine", *map(str, (store, "--weights", weights, *fixed, *arguments))])

    return call


def by_identity(store: Path) -> dict[Identity, Sample]:
    return {identity_of(sample): sample for sample in open_store(store).samples()}


def carried_of(store: Path) -> Iterable[tuple[Sample, Identity]]:
    return [(each, name) for name, each in by_identity(store).items() if each.origin in CARRIED]


def test_a_network_that_is_sure_of_the_right_class_corrects_planted_errors(
    refine: Refine, store: Path, tmp_path: Path
) -> None:
    result = refine("--json")
    assert result.exit_code == 0, result.output
    after = by_identity(tmp_path / "out")
    places = [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("a", -1), ("b", 3), ("b", -2), ("c", 0), ("c", 1)]
    assert list(after) == [(*place, "label") for place in places]
    for old, name in carried_of(store):
        new = after[name]
        expected = old.label.copy()
        expected[PLANTED] = 10
        assert (new.label == expected).all()
        assert (new.confidence[PLANTED] > UNSURE).all()
        untouched = {"origin": "refined", "label": new.label, "confidence": new.confidence}
        assert sample_digest(new) == sample_digest(replace(old, **untouched)), "all else is the same, byte for byte"
    assert after["a", 2, "label"].second_source_key == "other"
    summary = json.loads(result.stdout)
    assert summary["changed"] == 6 * 15
    assert summary["doubted"] == 0
    assert summary["labelled"] == 6 * (SIZE[0] - 2) * SIZE[1]


@pytest.mark.parametrize("raw", [False, True])
def test_annotated_and_pseudo_labelled_samples_come_through_byte_for_byte(
    refine: Refine, tmp_path: Path, raw: bool
) -> None:
    store = write_store(tmp_path / "other", carried_shards(raw=raw), CLASSES)
    assert refine(store=store).exit_code == 0
    before = {identity_of(each): each for each in open_store(store).records()}
    after = {identity_of(each): each for each in open_store(tmp_path / "out").records()}
    assert before.keys() == after.keys()
    assert {name for name in after if after[name] == before[name]} == {
        name for name, record in before.items() if record.origin in ("annotated", "pseudo")
    }


def test_what_is_void_stays_so_and_label_ids_of_one_class_too(refine: Refine, store: Path, tmp_path: Path) -> None:
    assert refine().exit_code == 0
    after = by_identity(tmp_path / "out")
    for old, name in carried_of(store):
        new = after[name]
        for place, label_id in ((VOID, 0), (BONNET, 9), ((8, slice(0, 4)), 11)):
            assert (new.label[place] == label_id).all()
        for place in (VOID, BONNET):
            assert (new.confidence[place] == old.confidence[place]).all()


def test_a_network_that_knows_nothing_changes_no_label(
    refine: Refine, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = refine("--doubt", 0, weights=network(tmp_path, monkeypatch, 0.0))
    assert "0.00 % are others now, 0.00 % are ignored" in result.stdout
    after = by_identity(tmp_path / "out")
    for old, name in carried_of(store):
        assert (after[name].label == old.label).all()


def test_where_both_doubt_there_is_no_label(
    refine: Refine, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refine("--doubt", 0.6, weights=network(tmp_path, monkeypatch, 0.0)).exit_code == 0
    after = by_identity(tmp_path / "out")
    for old, name in carried_of(store):
        expected = old.label.copy()
        expected[PLANTED] = 0
        assert (after[name].label == expected).all()
        assert (after[name].confidence[PLANTED] > 0).all(), "how probable the label would have been"


def test_windows_are_decided_as_the_whole(refine: Refine, tmp_path: Path) -> None:
    assert refine().exit_code == 0
    assert refine("--window", "7x10", out=tmp_path / "windows").exit_code == 0
    assert load_manifest(tmp_path / "windows").content == load_manifest(tmp_path / "out").content


def test_the_network_sees_each_scale_and_its_mirror_image(
    refine: Refine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    forward = Colourful.forward

    def counted(self: Colourful, images: torch.Tensor) -> torch.Tensor:
        seen.extend([tuple(images.shape[2:])] * len(images))
        return forward(self, images)

    monkeypatch.setattr(Colourful, "forward", counted)
    assert refine("--scales", "1,2", "--window", "7x10").exit_code == 0
    plain = Counter(seen)
    assert set(plain) == {(7, 10), (14, 20)}
    seen.clear()
    assert refine("--scales", "1,2", "--window", "7x10", "--no-flip", out=tmp_path / "other").exit_code == 0
    assert Counter(seen) == {size: number // 2 for size, number in plain.items()}


def test_a_stopped_run_goes_on_to_the_same_store(
    refine: Refine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert refine(out=whole).exit_code == 0
    with monkeypatch.context() as patch:
        make, made = refining.Refiner._sample, list[object]()

        def stop(*arguments: Any) -> Sample:
            made.append(arguments)
            if len(made) == 6:
                raise KeyboardInterrupt
            return make(*arguments)

        patch.setattr(refining.Refiner, "_sample", stop)
        told = refine(out=stopped)
        assert told.exit_code == 130
        assert told.stderr.endswith("Interrupted; what is finished is kept.\n")
    assert len(load_manifest(stopped).shards) == 1
    status = CliRunner().invoke(propagate, ["status", str(stopped)])
    assert "no run is at work; `segtrain refine` goes on" in status.stdout
    assert "1 of 3 shards, 5 of " in status.stdout
    assert "4 samples written" in refine(out=stopped).stdout
    assert load_manifest(stopped).content == load_manifest(whole).content
    assert "nothing to do" in refine(out=stopped).stdout


def test_another_network_store_or_doubt_is_refused(
    refine: Refine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refine().exit_code == 0
    content = load_manifest(tmp_path / "out").content
    different = carried_shards()
    different[0][1].label[7, 7] = 30
    other = write_store(tmp_path / "other", different, CLASSES)
    for result, what in (
        (refine("--doubt", 0.4), "doubt: 0.5 in the store, 0.4 now"),
        (refine("--flip", "--scales", "1,2"), "scales: [1.0] in the store, [1.0, 2.0] now"),
        (refine(store=other), "content: "),
        (refine(weights=network(tmp_path, monkeypatch, 1.0)), "teacher: "),
    ):
        assert result.exit_code == 1
        assert "begun with another configuration" in result.stderr
        assert what in result.stderr
    assert load_manifest(tmp_path / "out").content == content


def test_a_damaged_sample_costs_no_other_and_is_refined_once_it_is_mended(
    refine: Refine, store: Path, tmp_path: Path
) -> None:
    path = store / "shard-00000.h5"
    data = path.read_bytes()
    damage_chunk(path, "label", column=0)
    result = refine()
    assert result.exit_code == 1
    assert f"failed: a: {path}" in result.stderr
    assert len(by_identity(tmp_path / "out")) == 8
    path.write_bytes(data)
    assert refine("--retry-failed").exit_code == 0
    assert len(by_identity(tmp_path / "out")) == 9


def test_what_cannot_be_refined_is_said(refine: Refine, store: Path, tmp_path: Path) -> None:
    annotated = write_store(tmp_path / "annotated", [[sample_of("a", 0, "annotated")]], CLASSES)
    twice = [sample_of("a", 1, "propagated"), replace(sample_of("a", 1, "propagated"), pairing="joint")]
    two = write_store(tmp_path / "two", [twice], CLASSES)
    begun = write_store(tmp_path / "begun", carried_shards(), CLASSES)
    manifest = load_manifest(begun)
    del manifest.shards[1]
    save_manifest(begun, manifest)
    for result, said in (
        (refine(store=annotated), "nothing to refine: samples of origin annotated, expected propagated or fused"),
        (refine(store=two), "two samples of source 'a' have offset 1, expected one"),
        (refine(store=begun), "unfinished, 1 of 2 planned shards are there"),
        (refine(store=tmp_path / "gone"), "no shard store here"),
        (refine("--overwrite", out=store), "the store that is refined; choose another OUT"),
    ):
        assert result.exit_code == 1
        assert said in result.stderr
    assert len(by_identity(store)) == 9
    assert "doubt must be within 0…1, found 2" in refine("--doubt", 2).stderr


def test_what_other_commands_make_of_such_a_store(refine: Refine, tmp_path: Path) -> None:
    assert refine().exit_code == 0
    out, truths = tmp_path / "out", tmp_path / "truth"
    truths.mkdir()
    (truths / "a+1.png").write_bytes(encode_png(np.array([10, 20, 30], np.uint8)[classes_there()]))
    for line in (
        ("info", out),
        ("verify", out),
        ("evaluate", out, "--truth", truths),
        ("report", out, "--out", tmp_path / "page"),
        ("export", out, tmp_path / "tree", "--format", "cityscapes"),
    ):
        result = CliRunner().invoke(propagate, [str(each) for each in line])
        assert result.exit_code == 0, result.output


def test_a_network_of_other_classes_is_refused(store: Path, weights: Path, tmp_path: Path) -> None:
    line = ("refine", store, "--weights", weights, "--out", tmp_path / "out", "--engine", "local")
    result = CliRunner().invoke(main, [str(each) for each in line])
    assert result.exit_code == 1
    assert "scores 19 classes, class table 'primary' has 3 that are trained" in result.stderr
    assert not (tmp_path / "out").exists()
