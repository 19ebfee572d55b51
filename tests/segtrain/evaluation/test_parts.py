"""Evaluations in parts, and continued: what is counted of each image is kept."""

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from jobs.training.runtime import Runtime
from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from segtrain.cli.evaluate import evaluate as evaluate_command
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.errors import InferenceError
from segtrain.evaluation.counts import CountsFolder
from segtrain.evaluation.evaluate import evaluate
from segtrain.evaluation.instances import find_instance_maps
from segtrain.evaluation.part import Part
from segtrain.evaluation.report import SegmentationReport
from segtrain.inference import Inference

CITYSCAPES = load_classes("cityscapes")
NUM_CLASSES = len(CITYSCAPES.train_names)
NUM_IMAGES = 5
CPU = Runtime(device=torch.device("cpu"))
Evaluate = Callable[..., SegmentationReport]


@pytest.fixture
def bonn(tmp_path: Path) -> Path:
    """Five annotated images, of other classes each, in noise."""
    random = np.random.default_rng(0)
    for kind in ("leftImg8bit", "gtFine"):
        (tmp_path / "bonn" / kind / "val" / "bonn").mkdir(parents=True)
    for number in range(NUM_IMAGES):
        key = f"bonn_{number:06d}_000019"
        image = random.integers(0, 256, (24, 32, 3), np.uint8)
        label = random.choice(CITYSCAPES.id_of_train_id[number : number + 3], (24, 32)).astype(np.uint8)
        (tmp_path / "bonn/leftImg8bit/val/bonn" / f"{key}_leftImg8bit.png").write_bytes(encode_png(image))
        (tmp_path / "bonn/gtFine/val/bonn" / f"{key}_gtFine_labelIds.png").write_bytes(encode_png(label))
    return tmp_path / "bonn"


@pytest.fixture
def scored(bonn: Path) -> Evaluate:
    """An evaluation of a network without weights; its report says how many images it saw."""
    options = DatasetOptions(root=bonn, split="val")
    dataset = open_labelled_frames("cityscapes", options)

    inputs = {record.key: "as it was" for record in dataset.records}

    def call(
        counts: Path | None = None,
        part: str = "1/1",
        *,
        seen: list[str] | None = None,
        on_found: Callable[[str, np.ndarray], object] | None = None,
    ) -> SegmentationReport:
        kept = None if counts is None else CountsFolder.begun(counts, {"of": "bonn"}, NUM_CLASSES, inputs=inputs)
        note = (lambda key, _: seen.append(key)) if seen is not None else on_found
        maps = find_instance_maps("cityscapes", options, inputs)
        return evaluate(
            network,
            dataset,
            Inference(),
            CPU,
            part=Part.parse(part),
            kept=kept,
            instance_maps=maps,
            on_found=note,
        )

    return call


def network(images: Tensor) -> Tensor:
    return torch.stack([(images[:, 0] * (n + 1)).sin() for n in range(NUM_CLASSES)], dim=1)


def test_parts_together_are_the_whole_and_nothing_is_segmented_twice(scored: Evaluate, tmp_path: Path) -> None:
    whole, folder = scored(), tmp_path / "counts"
    seen: list[str] = []
    parts = [scored(folder, f"{number}/3", seen=seen) for number in (2, 1, 3)]
    assert [(report.images, report.missing) for report in parts] == [(2, 3), (4, 1), (5, 0)]
    again = scored(folder, seen=seen)
    assert sorted(seen) == [f"bonn_{number:06d}_000019" for number in range(NUM_IMAGES)]
    for report in (parts[-1], again):
        assert report.to_dict() == whole.to_dict()
        assert (report.whole == whole.whole).all()


def test_of_parts_at_the_same_time_the_last_sees_what_the_others_counted(scored: Evaluate, tmp_path: Path) -> None:
    others: list[SegmentationReport] = []

    def other_part(*_: object) -> None:
        if not others:
            others.append(scored(tmp_path / "counts", "2/2"))

    last = scored(tmp_path / "counts", "1/2", on_found=other_part)
    assert (others[0].images, others[0].missing) == (3, 2)
    assert (last.images, last.missing) == (NUM_IMAGES, 0)
    assert last.to_dict() == scored().to_dict()


def test_sums_do_not_depend_on_which_part_was_first(scored: Evaluate, bonn: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for number in range(NUM_IMAGES):
        instances = (26_000 + random.integers(0, 40 + 9 * number, (24, 32))).astype(np.uint16)  # cars, by noise
        path = bonn / "gtFine/val/bonn" / f"bonn_{number:06d}_000019_gtFine_instanceIds.png"
        path.write_bytes(cv2.imencode(".png", instances)[1].tobytes())
    whole = scored().instances
    for order in permutations((1, 2, 3)):
        folder = tmp_path / f"counts{order}"
        *_, last = (scored(folder, f"{number}/3") for number in order)
        assert last.missing == 0
        assert whole is not None
        assert last.instances is not None
        assert last.instances.tolist() == whole.tolist()


def test_of_two_evaluations_that_begin_at_the_same_time_one_has_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, look = tmp_path / "counts", Path.iterdir

    def other_begins(path: Path) -> Iterator[Path]:
        monkeypatch.undo()
        CountsFolder.begun(folder, {"of": "cologne"}, NUM_CLASSES, inputs={})
        return look(path)

    monkeypatch.setattr(Path, "iterdir", other_begins)
    with pytest.raises(InferenceError, match=r"holds the counts of another evaluation \(of: cologne there, bonn now\)"):
        CountsFolder.begun(folder, {"of": "bonn"}, NUM_CLASSES, inputs={})
    CountsFolder.begun(folder, {"of": "cologne"}, NUM_CLASSES, inputs={})


def test_an_interrupted_evaluation_goes_on(scored: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, answers = 0, network

    def dies(images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        return answers(images)

    seen: list[str] = []
    monkeypatch.setitem(globals(), "network", dies)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path / "counts", seen=seen)
    monkeypatch.undo()
    assert len(seen) == 2
    assert scored(tmp_path / "counts", seen=seen).to_dict() == scored().to_dict()
    assert len(seen) == len(set(seen)) == NUM_IMAGES


def test_images_that_cannot_be_read_are_tried_again(scored: Evaluate, bonn: Path, tmp_path: Path) -> None:
    frame = bonn / "leftImg8bit/val/bonn/bonn_000000_000019_leftImg8bit.png"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:50])
    broken = scored(tmp_path / "counts", "1/2")
    assert (broken.images, broken.missing, [each.image for each in broken.failures]) == (2, 2, [frame.name[:18]])
    frame.write_bytes(whole)
    mended = scored(tmp_path / "counts")
    assert (mended.images, mended.missing, mended.failures) == (NUM_IMAGES, 0, ())


def test_folders_of_others_are_refused_and_damage_is_named(scored: Evaluate, tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    scored(folder, "1/5")
    with pytest.raises(InferenceError, match=r"of another evaluation \(band: None there, 3 now; of: bonn there, "):
        CountsFolder.begun(folder, {"of": "cologne", "band": 3}, NUM_CLASSES, inputs={})
    image = folder / "image-000000.json"
    kept = json.loads(image.read_text())
    for text, reason in (
        ("{", "Expecting property name"),
        (json.dumps({**kept, "image": "other"}), "is of image other, expected bonn_000000_000019"),
        (json.dumps({**kept, "whole": [[0, 99, 1]]}), "out of bounds"),
        (json.dumps({**kept, "near": [[-1, 0, 1]]}), "has counts below 0"),
        (json.dumps({**kept, "instances": [[1, 2]]}), "has instances of 1 classes, expected 19"),
    ):
        image.write_text(text)
        with pytest.raises(
            InferenceError, match=rf"image-000000.json: damaged \(.*{reason}.*\); remove it, and the im"
        ):
            scored(folder)
    image.unlink()
    assert scored(folder).missing == 0
    (tmp_path / "mine" / "thesis").mkdir(parents=True)
    with pytest.raises(InferenceError, match=r"holds 'thesis' but no evaluation.json, so no evaluation was begun here"):
        CountsFolder.begun(tmp_path / "mine", {}, NUM_CLASSES, inputs={})


def run(*args: object) -> Result:
    return CliRunner().invoke(evaluate_command, [str(arg) for arg in args], catch_exceptions=False)


def test_the_command_says_what_is_missing_and_scores_once_all_is_there(
    weights: Path, bonn: Path, tmp_path: Path
) -> None:
    about = (weights, "--root", bonn, "--device", "cpu")
    kept = (*about, "--counts", tmp_path / "counts")
    first = run(*kept, "--part", "1/2")
    told = (
        "3 of 5 images counted; scores follow once the other parts are done, or by the same command without --part, "
        "which leaves out what cannot be read"
    )
    assert (first.exit_code, first.stdout) == (0, f"{tmp_path / 'counts'}: {told}\n")
    assert json.loads(run(*kept, "--part", "1/2", "--json").stdout) == {"images": 3, "missing": 2, "failures": []}
    second = run(*kept, "--part", "2/2")
    assert second.stdout == run(*kept).stdout == run(*about).stdout
    with pytest.raises(InferenceError, match=r"another evaluation \(inference: .*None.* there, .*16.* now\); give"):
        run(*kept, "--window", "16x16")


@pytest.mark.parametrize("kind", ["leftImg8bit", "gtFine", "instanceIds"])
def test_files_of_the_same_names_are_counted_apart(weights: Path, bonn: Path, tmp_path: Path, kind: str) -> None:
    labels, key = bonn / "gtFine/val/bonn", "bonn_000001_000019"
    if kind == "instanceIds":
        for path in labels.glob("*_labelIds.png"):
            instances = cv2.imencode(".png", np.full((24, 32), 26_001, np.uint16))[1].tobytes()
            path.with_name(path.name.replace("labelIds", kind)).write_bytes(instances)
    kept = (weights, "--device", "cpu", "--counts", tmp_path / "counts")
    assert run(*kept, "--root", bonn, "--part", "2/5").exit_code == 0
    other = shutil.copytree(bonn, tmp_path / "other")
    assert run(*kept, "--root", other, "--part", "2/5").exit_code == 0
    [changed] = other.glob(f"*/val/bonn/{key}*{kind}*" if kind != "gtFine" else f"*/val/bonn/{key}*labelIds*")
    changed.write_bytes(changed.read_bytes() + b"longer")
    with pytest.raises(InferenceError, match=rf"image-000001.json: was counted of other files of image {key}"):
        run(*kept, "--root", other)


def test_a_file_that_is_mended_does_not_end_an_evaluation(weights: Path, bonn: Path, tmp_path: Path) -> None:
    frame = bonn / "leftImg8bit/val/bonn/bonn_000000_000019_leftImg8bit.png"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:50])
    kept = (weights, "--root", bonn, "--device", "cpu", "--counts", tmp_path / "counts")
    assert run(*kept).exit_code == 1
    frame.write_bytes(whole)
    assert run(*kept).exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--part 1/2", "--part is put together with the others in a folder; give --counts DIR, the same for all"),
        ("--counts c --part 0/2", "'0/2' is no part, as 1/8, the first of eight"),
        ("--counts c --part 3/2", "'3/2' is no part"),
        ("--counts c --part half", "'half' is no part"),
        ("--counts c --temporal", "--counts keeps what is counted of single images; leave out --temporal, or run it "),
        ("--overlap 1", "overlap must be within 0…0.99, found 1.0"),
    ],
)
def test_parts_that_make_no_sense_are_refused(weights: Path, options: str, message: str) -> None:
    done = run(weights, "--root", "nowhere", *options.split())
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_record_that_is_no_text_is_of_another_evaluation(tmp_path: Path) -> None:
    CountsFolder.begun(tmp_path, {"of": "bonn"}, NUM_CLASSES, inputs={})
    (tmp_path / "evaluation.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(
        InferenceError, match=r"holds the counts of another evaluation \(its evaluation\.json is damaged"
    ):
        CountsFolder.begun(tmp_path, {"of": "bonn"}, NUM_CLASSES, inputs={})
