"""Stores of what a network predicts: what they hold, of which frames, and that a run goes on where it was stopped."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from helpers.videos import decoded, write_video

from propagate.cli.main import main as propagate
from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_train_ids
from propagate.data.images import decode_frame, encode_png
from propagate.data.sample import Sample
from propagate.datasets.base import DatasetOptions
from propagate.shards.manifest import load_manifest
from propagate.shards.reader import open_store
from propagate.synth.write import write_dataset
from segtrain.cli.main import main
from segtrain.data.dataset import require_apart
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.store_samples import open_store_samples
from segtrain.errors import DataError
from segtrain.pseudo import calibration, clips, labelling, run
from segtrain.trained import TrainedNetwork

CLASSES = ClassTable.from_json(
    {
        "name": "primary",
        "ignore_id": 0,
        "classes": [
            {"id": 0, "name": "void", "train_id": 255, "color": [0, 0, 0]},
            {"id": 10, "name": "red", "train_id": 0, "color": [200, 0, 0]},
            {"id": 20, "name": "green", "train_id": 1, "color": [0, 200, 0]},
            {"id": 30, "name": "blue", "train_id": 2, "color": [0, 0, 200]},
        ],
    }
)
SIZE = (16, 24)
RED, GREEN, BLUE = range(3)
DULL = (60, 90, 60)  # of green: found, and not sure
FLICKER = (slice(2, 6), slice(3, 8))  # blue where all other frames are red
NUM_FRAMES, ANNOTATED, FLICKERING = 20, (6, 14), 11

Run = Callable[..., Result]


class Brightest(torch.nn.Module):
    """The class of a pixel is its brightest colour."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def scene(number: int) -> np.ndarray:
    """[H,W,3] uint8: red, and green at the right, dull in its last row; the first pixel tells frames apart."""
    labels = np.full(SIZE, RED, np.uint8)
    labels[:, 12:] = GREEN
    if number == FLICKERING:
        labels[FLICKER] = BLUE
    pixels = colours_of_train_ids(labels, CLASSES)
    pixels[-1, 12:] = DULL
    pixels[0, 0] += np.uint8(number)
    return pixels


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Frames of one recording, two of them annotated, in folders of the layout `folder`."""
    root = tmp_path / "drive"
    for kind in ("frames", "labels"):
        (root / kind).mkdir(parents=True)
    for number in range(NUM_FRAMES):
        (root / "frames" / f"a_{number}.png").write_bytes(encode_png(scene(number)))
    for number in ANNOTATED:
        (root / "labels" / f"a_{number}.png").write_bytes(encode_png(np.full(SIZE, 10, np.uint8)))
    layout = {"frames": "frames/{sequence}_{frame}.png", "labels": "labels/{sequence}_{frame}.png"}
    (root / "layout.yaml").write_text(yaml.safe_dump({**layout, "classes": CLASSES.to_json()}))
    return root


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a network that finds the brightest colour."""
    trained = TrainedNetwork(network=Brightest(), classes=CLASSES)  # type: ignore[arg-type]
    monkeypatch.setattr(labelling, "open_trained", lambda *_, **__: trained)
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def pseudo(teacher: Path, drive: Path, tmp_path: Path) -> Run:
    """`segtrain pseudo` of the recording, into a store `out`, unless arguments say otherwise."""

    def call(*arguments: object, source: tuple[object, ...] = ("--root", drive), out: Path | None = None) -> Result:
        around = ("--frames", 4) if drive in source else ()
        along = () if "--no-temporal-filter" in arguments else ("--motion", "none")
        fixed = ("--engine", "local", "--scales", "1", *along, *around)
        line = ("pseudo", teacher, *source, "--out", out or tmp_path / "out", *fixed, *arguments)
        return CliRunner().invoke(main, [str(each) for each in line])

    return call


def samples_of(out: Path) -> dict[str, Sample]:
    return {sample.key: sample for sample in open_store(out).samples()}


def test_what_a_store_holds(pseudo: Run, tmp_path: Path) -> None:
    result = pseudo("--json")
    assert result.exit_code == 0, result.output
    samples = samples_of(tmp_path / "out")
    assert sorted(samples) == sorted(f"a_{n}" for n in range(2, 19) if n not in ANNOTATED)
    assert {sample.origin for sample in samples.values()} == {"pseudo"}
    sample = samples["a_9"]
    assert (sample.source_key, sample.offset, sample.pairing, sample.group) == ("a_6", 3, "label", "a")
    assert (decode_frame(sample.image, "") == scene(9)).all()  # type: ignore[arg-type]
    expected = np.full(SIZE, 10, np.uint8)
    expected[:, 12:] = 20
    expected[-1, 12:] = 0  # less sure than most of its class
    assert (sample.label == expected).all()
    assert (sample.confidence[-1, 12:] == 0).all()
    assert (sample.confidence[:-1] >= 13).all()
    assert sample.reason is not None
    assert not sample.reason.any()
    summary = json.loads(result.stdout)
    green = summary["classes"]["green"]
    assert green["sure"] == green["kept"] == green["found"] * 15 / 16
    blue = summary["classes"]["blue"]
    assert (blue["found"], blue["sure"], blue["kept"]) == (20, 20, 0)
    settings = load_manifest(tmp_path / "out").settings
    assert settings["thresholds"] == {name: each["threshold"] for name, each in summary["classes"].items()}
    assert settings["teacher"] == summary["teacher"]
    assert (settings["scales"], settings["flip"], settings["motion"]) == ([1.0], True, "none")


def test_a_label_that_both_frames_beside_contradict_is_void(
    pseudo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, seen = labelling.segment_with_confidence, list[object]()
    monkeypatch.setattr(labelling, "segment_with_confidence", lambda *given: seen.append(given) or segment(*given))
    assert pseudo("--threshold", 0).exit_code == 0
    assert len(seen) == 15 + len(ANNOTATED), "each frame once, and the annotated ones, by which others are judged"
    assert pseudo("--threshold", 0, "--no-temporal-filter", out=tmp_path / "all").exit_code == 0
    assert len(seen) == 15 + len(ANNOTATED) + 15
    filtered, everything = samples_of(tmp_path / "out"), samples_of(tmp_path / "all")
    assert (everything["a_11"].label[FLICKER] == 30).all()
    assert (filtered["a_11"].label[FLICKER] == 0).all()
    assert (filtered["a_11"].label == 0).sum() == 20
    assert (filtered["a_12"].label == everything["a_12"].label).all(), "the frame after that agrees"


def test_frames_beyond_are_farther_from_every_annotated_frame(pseudo: Run, tmp_path: Path) -> None:
    assert pseudo("--beyond", 2).exit_code == 0
    records = list(open_store(tmp_path / "out").records())
    assert sorted(int(record.key[2:]) for record in records) == [2, 3, 9, 10, 11, 17, 18]
    assert {record.offset for record in records} == {-4, -3, 3, 4}
    assert sum(entry.samples for entry in load_manifest(tmp_path / "out").entries()) == 7
    again = pseudo("--beyond", 2)
    assert "nothing to do" in again.stdout


def test_a_stopped_run_goes_on_with_the_same_thresholds_to_the_same_store(
    pseudo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    one = ("--clips-per-shard", 1)
    assert pseudo(*one, out=whole).exit_code == 0
    with monkeypatch.context() as patch:
        make, made = labelling.Labeller._sample, list[object]()

        def stop(*arguments: Any) -> Sample:
            made.append(arguments)
            if len(made) == 12:
                raise KeyboardInterrupt
            return make(*arguments)

        patch.setattr(labelling.Labeller, "_sample", stop)
        told = pseudo(*one, out=stopped)
        assert told.exit_code == 130
        assert told.stderr.endswith("Interrupted; what is finished is kept.\n")
    assert len(load_manifest(stopped).shards) == 1
    status = CliRunner().invoke(propagate, ["status", str(stopped)])
    assert "no run is at work; `segtrain pseudo` goes on" in status.stdout
    monkeypatch.setattr(run, "calibrate", None)
    other = pseudo(*one, "--threshold", 0.5, out=stopped)
    assert other.exit_code == 1
    assert "threshold: 0.9 in the store, 0.5 now" in other.stderr
    assert pseudo(*one, out=stopped).exit_code == 0
    assert load_manifest(stopped).content == load_manifest(whole).content


def test_thresholds_do_not_depend_on_how_frames_are_shared(
    pseudo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pseudo().exit_code == 0
    monkeypatch.setattr(calibration, "FRAMES", 1)
    result = pseudo(out=tmp_path / "one")
    assert "thresholds of classes on 15 frames" in result.stderr
    one, other = load_manifest(tmp_path / "out"), load_manifest(tmp_path / "one")
    assert (one.settings, one.content) == (other.settings, other.content)
    few = pseudo("--calibrate-on", 4, out=tmp_path / "few")
    assert "thresholds from 4 frames" in few.stdout


@pytest.mark.parametrize("as_files", [False, True])
def test_a_damaged_frame_costs_no_other_and_is_labelled_once_it_is_mended(
    as_files: bool, pseudo: Run, drive: Path, tmp_path: Path
) -> None:
    """The frames on either side of it judge each other no more than those of two recordings."""
    source: tuple[object, ...] = (drive / "frames",) if as_files else ("--root", drive)
    damaged = ("a_0", "a_10", "a_12") if as_files else ("a_10", "a_12", "a_17")
    paths = {drive / "frames" / f"{name}.png": (drive / "frames" / f"{name}.png").read_bytes() for name in damaged}
    assert pseudo(source=source, out=tmp_path / "whole").exit_code == 0
    whole = samples_of(tmp_path / "whole")
    for path, data in paths.items():
        path.write_bytes(data[: len(data) // 2])
    result = pseudo(source=source)
    assert result.exit_code == 1
    for name in damaged:
        assert f"frames/{name}.png: " in result.stderr
    assert ("failed: a_0, offset +10: " if as_files else "failed: a_14, offset +3: ") in result.stderr
    found = samples_of(tmp_path / "out")
    assert set(found) == set(whole) - set(damaged)
    assert not (found["a_11"].label[FLICKER] == 0).any(), "judged by neither"
    assert (whole["a_11"].label[FLICKER] == 0).all()
    for path, data in paths.items():
        path.write_bytes(data)
    assert pseudo("--retry-failed", source=source).exit_code == 0
    assert set(samples_of(tmp_path / "out")) == set(whole)


def test_videos_and_folders_without_annotations(
    pseudo: Run, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "CLIP", 3)
    video = tmp_path / "night.mkv"
    write_video(video, "ffv1", {}, 11)
    assert pseudo("--every", 2, "--images", "raw", source=(video, drive / "frames")).exit_code == 0
    store = open_store(tmp_path / "out")
    places = {record.key: (record.source_key, record.offset, record.second_offset) for record in store.records()}
    assert list(places)[-6:] == [f"night_{n}" for n in (0, 2, 4, 6, 8, 10)]
    assert places["night_8"] == ("night_6", 2, 8)
    assert {"a_0", "a_2", "a_18"} <= set(places)
    assert not {"a_1", "night_1"} & set(places)
    pixels = decoded(video)
    with_next = open_store_samples(tmp_path / "out", offsets=(2,))
    numbers = {record.key: number for number, record in enumerate(with_next.records)}
    assert len(with_next.records) == len(places) - 2, "all but the last frame of each recording"
    across = with_next.read(numbers["night_4"])  # the last of its clip
    assert (across.image == pixels[4]).all()
    assert (across.neighbours[0] == pixels[6]).all()


def test_what_other_commands_make_of_such_a_store(pseudo: Run, drive: Path, tmp_path: Path) -> None:
    assert pseudo("--limit", 1).exit_code == 0
    out, truth = tmp_path / "out", tmp_path / "truth"
    truth.mkdir()
    (truth / "a_15.png").write_bytes(encode_png(np.full(SIZE, 10, np.uint8)))
    for line in (
        ("info", out),
        ("verify", out),
        ("status", out),
        ("evaluate", out, "--truth", truth),
        ("evaluate", out, "--truth", truth, "--root", drive),
        ("report", out, "--out", tmp_path / "page"),
        ("show", out, "--out", tmp_path / "strip.png"),
        ("export", out, tmp_path / "tree", "--format", "cityscapes"),
    ):
        result = CliRunner().invoke(propagate, [str(each) for each in line])
        assert result.exit_code == 0, result.output
        if line[0] == "report":  # ignored pixels are none that are wrong
            assert "Labels are safe up to ±4" in result.output
        if line[0] == "status":
            assert "8 of 8 samples" in result.output


def test_frames_that_are_validated_on_are_not_trained_on(pseudo: Run, drive: Path, tmp_path: Path) -> None:
    held_out = open_labelled_frames("folder", DatasetOptions(root=drive))
    assert pseudo().exit_code == 0
    with pytest.raises(DataError, match="2 frames are both trained on and validated on: a_14, a_6"):
        require_apart(open_store_samples(tmp_path / "out"), held_out)
    assert pseudo(source=(drive / "frames",), out=tmp_path / "files").exit_code == 0
    with pytest.raises(DataError, match="2 frames are both trained on"):
        require_apart(open_store_samples(tmp_path / "files"), held_out)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--threshold", 1.2), "'--threshold': threshold must be within 0…1, found 1.2", 2),
        (("--beyond", 4), "--beyond 4 leaves nothing of --frames 4", 2),
        (("--every", 2), "--every is of SOURCE", 2),
        (("--motion", "sdcnet"), "motion 'sdcnet' is made of two frames before", 2),
        (("--motion", "codec"), "have them made, with --transcode mpeg4", 2),
        (("--no-temporal-filter", "--motion", "tvl1"), "--motion is of the temporal filter; leave it out", 2),
        (("--address", "here:1"), "--address names a Ray cluster", 2),
    ],
)
def test_what_makes_no_sense_is_said(arguments: tuple[object, ...], said: str, code: int, pseudo: Run) -> None:
    result = pseudo(*arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_no_frames_and_two_of_one_name_are_said(pseudo: Run, drive: Path, tmp_path: Path) -> None:
    for path in (drive / "frames").glob("*.png"):
        if int(path.stem[2:]) not in ANNOTATED:
            path.rename(tmp_path / path.name)
    alone = pseudo("--max-gap", 1)
    assert alone.exit_code == 1
    assert "no frame to label farther than 0 from the nearest of 2 annotated frames, the farthest is 0" in alone.stderr
    both = pseudo(source=(drive / "frames", drive / "labels"))
    assert "both would be called a_6" in both.stderr
    assert "does not exist" in pseudo(source=(tmp_path / "gone.mp4",)).stderr
    assert "give either SOURCE or --root" in pseudo("--root", drive, source=(drive / "frames",)).stderr
    assert "give either SOURCE or --max-gap" in pseudo("--max-gap", 7, source=(drive / "frames",)).stderr


def test_a_limit_to_annotated_frames_without_others_is_said(tmp_path: Path) -> None:
    write_dataset(tmp_path, num_snippets=2, size=(64, 128), length=22, around=2)
    for number in (18, 20):
        next(tmp_path.rglob(f"*_000000_{number:06d}_leftImg8bit.png")).unlink()
    with pytest.raises(DataError, match="none of the frames around the first 1 annotated ones; raise --limit"):
        run.frames_around("cityscapes", DatasetOptions(root=tmp_path), frames=2, limit=1)
    assert len(run.frames_around("cityscapes", DatasetOptions(root=tmp_path), frames=2).clips) == 2


def test_a_teacher_of_other_classes_is_refused(drive: Path, weights: Path, tmp_path: Path) -> None:
    line = ("pseudo", weights, "--root", drive, "--out", tmp_path / "out", "--frames", 2, "--engine", "local")
    result = CliRunner().invoke(main, [str(each) for each in line])
    assert result.exit_code == 1
    assert "scores 19 classes, class table 'primary' has 3 that are trained" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_network_sees_each_scale_and_its_mirror_image(
    pseudo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def counted(_: Brightest, images: torch.Tensor) -> torch.Tensor:
        seen.extend([tuple(images.shape[2:])] * len(images))
        return images

    monkeypatch.setattr(Brightest, "forward", counted)
    assert pseudo("--scales", "1,2", "--window", "8x12").exit_code == 0
    plain = Counter(seen)
    assert set(plain) == {(8, 12), (16, 24)}
    seen.clear()
    assert pseudo("--scales", "1,2", "--window", "8x12", "--no-flip", out=tmp_path / "other").exit_code == 0
    assert Counter(seen) == {size: number // 2 for size, number in plain.items()}
