"""Stores of refined samples: what is decided anew, what is copied, and that a run resumes and mixes up nothing."""

import json
import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.stores import damage_chunk, write_store

from propagate.cli.main import main as propagate
from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_train_ids
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.errors import InputError
from propagate.job.plan import make_plan
from propagate.shards.identity import Identity, identity_of
from propagate.shards.manifest import load_manifest, save_manifest
from propagate.shards.reader import open_store
from propagate.shards.schema import sample_digest
from segtrain.cli.main import main
from segtrain.refine import refining, run
from segtrain.refine.stored import clips_of_store, open_finished
from segtrain.trained import TrainedNetwork

CLASSES = ClassTable.from_json(
    {
        "name": "primary",
        "ignore_id": 0,
        "classes": [
            {"id": 0, "name": "void", "train_id": 255, "color": [0, 0, 0]},
            {"id": 9, "name": "bonnet", "train_id": 255, "color": [90, 0, 90]},
            {"id": 10, "name": "red", "train_id": 0, "color": [200, 0, 0]},
            {"id": 11, "name": "dark red", "train_id": 0, "color": [150, 0, 0]},
            {"id": 20, "name": "green", "train_id": 1, "color": [0, 200, 0]},
            {"id": 30, "name": "blue", "train_id": 2, "color": [0, 0, 200]},
        ],
    }
)
SIZE = (12, 24)
SURE, UNSURE = 14, 8
PLANTED = (slice(2, 5), slice(3, 8))  # carried as green, where the frame is red
VOID, BONNET = (slice(0, 1), slice(None)), (slice(11, 12), slice(None))
CARRIED = ("propagated", "fused")

Refine = Callable[..., Result]


class Colourful(torch.nn.Module):
    """The class of a pixel is its brightest colour, as surely as it is told to be."""

    def __init__(self, sureness: float) -> None:
        super().__init__()
        self.sureness = sureness

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.sureness * images


def truth() -> np.ndarray:
    """[H,W] uint8 train ids: red, green and blue, from left to right."""
    return np.repeat(np.arange(3, dtype=np.uint8), SIZE[1] // 3)[None].repeat(SIZE[0], axis=0)


def sample_of(source: str, offset: int, origin: str, *, raw: bool = False) -> Sample:
    """A sample whose first pixel tells its frame from others; carried labels are wrong where PLANTED."""
    label_ids = np.array([10, 20, 30], np.uint8)
    pixels = colours_of_train_ids(truth(), CLASSES)
    pixels[6, 23] += np.uint8(abs(offset) + 10 * (offset < 0))
    label = label_ids[truth()]
    label[8, :4] = 11
    confidence = np.full(SIZE, SURE, np.uint8)
    reason = np.zeros(SIZE, np.uint8)
    if origin in CARRIED:
        label[PLANTED], confidence[PLANTED], reason[PLANTED] = 20, UNSURE, 1
        label[VOID], confidence[VOID] = 0, 1
        label[BONNET] = 9
    return Sample(
        key=f"{source}{offset:+}",
        source_key=source,
        group="a",
        offset=offset,
        pairing="label",
        origin=origin,
        second_source_key="other" if origin == "fused" else "",
        second_offset=offset - 9 if origin == "fused" else 0,
        image=pixels if raw else encode_png(pixels),
        label=label,
        confidence=confidence,
        reason=reason,
    )


def shards(*, raw: bool = False) -> list[list[Sample]]:
    first = (("a", 0, "annotated"), ("a", 1, "propagated"), ("a", 2, "fused"), ("a", -1, "propagated"))
    second = (("b", -2, "propagated"), ("b", 3, "pseudo"), ("c", 0, "annotated"), ("c", 1, "propagated"))
    return [[sample_of(*each, raw=raw) for each in some] for some in (first, second)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "store", shards(), CLASSES)


@pytest.fixture
def sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a network that is always sure of the right class."""
    return network(tmp_path, monkeypatch, 20.0)


def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sureness: float) -> Path:
    trained = TrainedNetwork(network=Colourful(sureness), classes=CLASSES)  # type: ignore[arg-type]
    for module in (refining, run):
        monkeypatch.setattr(module, "open_trained", lambda *_, **__: trained)
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
    places = [("a", 0), ("a", 1), ("a", 2), ("a", -1), ("b", 3), ("b", -2), ("c", 0), ("c", 1)]
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
    assert summary["changed"] == 5 * 15
    assert summary["doubted"] == 0
    assert summary["labelled"] == 5 * (SIZE[0] - 2) * SIZE[1]


@pytest.mark.parametrize("raw", [False, True])
def test_annotated_and_pseudo_labelled_samples_come_through_byte_for_byte(
    refine: Refine, tmp_path: Path, raw: bool
) -> None:
    store = write_store(tmp_path / "other", shards(raw=raw), CLASSES)
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
    assert "1 of 3 shards, 4 of " in status.stdout
    assert "4 samples written" in refine(out=stopped).stdout
    assert load_manifest(stopped).content == load_manifest(whole).content
    assert "nothing to do" in refine(out=stopped).stdout


def test_another_network_store_or_doubt_is_refused(
    refine: Refine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refine().exit_code == 0
    content = load_manifest(tmp_path / "out").content
    different = shards()
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


def test_a_store_that_changed_under_a_run_is_no_others_sample(store: Path) -> None:
    clips = clips_of_store(open_finished(store))
    frame = pickle.loads(pickle.dumps(clips))[0].samples[1]
    assert frame.sample().key == "a+1"
    with pytest.raises(InputError, match="another sample lies in its place"):
        replace(frame, row=2).sample()
    assert frame.size() == SIZE
    assert frame.encoded() == sample_of("a", 1, "propagated").image
    (clip,) = (clip for clip in clips if clip.key == "b")
    assert (sorted(clip.frames), sorted(clip.samples)) == ([-2, 0, 3], [-2, 3])
    assert clip.frames[0] is clip.samples[-2], "stands in: the first that is nearest"
    plan = make_plan(clips, 16)
    frames = {**clip.frames, 3: replace(clip.samples[3], record=replace(clip.samples[3].record, digest="other"))}
    assert make_plan([replace(clip, frames=frames)], 16)[0].clips[0].inputs not in {
        each.inputs for each in plan[0].clips
    }


def test_a_damaged_shard_ends_its_clip_until_it_is_mended(refine: Refine, store: Path, tmp_path: Path) -> None:
    path = store / "shard-00000.h5"
    data = path.read_bytes()
    damage_chunk(path, "label", column=0)
    result = refine()
    assert result.exit_code == 1
    assert f"failed: a: {path}" in result.stderr
    assert {name[0] for name in by_identity(tmp_path / "out")} == {"b", "c"}
    path.write_bytes(data)
    assert refine("--retry-failed").exit_code == 0
    assert len(by_identity(tmp_path / "out")) == 8


def test_what_cannot_be_refined_is_said(refine: Refine, store: Path, tmp_path: Path) -> None:
    annotated = write_store(tmp_path / "annotated", [[sample_of("a", 0, "annotated")]], CLASSES)
    twice = [sample_of("a", 1, "propagated"), replace(sample_of("a", 1, "propagated"), pairing="joint")]
    two = write_store(tmp_path / "two", [twice], CLASSES)
    begun = write_store(tmp_path / "begun", shards(), CLASSES)
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
    assert len(by_identity(store)) == 8
    assert "doubt must be within 0…1, found 2" in refine("--doubt", 2).stderr


def test_what_other_commands_make_of_such_a_store(refine: Refine, tmp_path: Path) -> None:
    assert refine().exit_code == 0
    out, truths = tmp_path / "out", tmp_path / "truth"
    truths.mkdir()
    (truths / "a+1.png").write_bytes(encode_png(np.array([10, 20, 30], np.uint8)[truth()]))
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
