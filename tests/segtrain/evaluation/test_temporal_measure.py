"""Temporal consistency of a network beside its mIoU: on clips whose right answer is known, and by the command."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.steppers import network_of
from torch import Tensor

from jobs.training.runtime import Runtime
from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from sdcnet.motion.estimator import Observation, Step
from segtrain.checkpoints import save_network
from segtrain.cli.evaluate import evaluate as evaluate_command
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.errors import DataError
from segtrain.evaluation.clips import clips_around, labels_in_succession, published_clips, published_names
from segtrain.evaluation.evaluate import evaluate
from segtrain.evaluation.temporal_measure import TemporalMeasure, TemporalReport, told_motion
from segtrain.evaluation.temporal_settings import TemporalSettings
from segtrain.inference import Inference
from segtrain.models.preprocessing import normalised

CITYSCAPES = load_classes("cityscapes")
CPU = Runtime(device=torch.device("cpu"))
ROAD, CAR = (CITYSCAPES.train_names.index(name) for name in ("road", "car"))
SIZE, EDGE, SPEED = (16, 48), 10, 3  # of pictures whose left is road: its right edge moves
ANNOTATED = 7, 8  # of frames 0 … 9


def picture(number: int) -> bytes:
    train_ids = np.full(SIZE, CAR, np.uint8)
    train_ids[:, : EDGE + SPEED * number] = ROAD
    return encode_png(CITYSCAPES.palette[CITYSCAPES.id_of_train_id[train_ids]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("frames", "labels"):
        (tmp_path / name).mkdir()
    for number in range(10):
        (tmp_path / f"frames/a_{number:02d}.png").write_bytes(picture(number))
        if number in ANNOTATED:
            (tmp_path / f"labels/a_{number:02d}.png").write_bytes(picture(number))
    (tmp_path / "layout.yaml").write_text(
        "frames: frames/{sequence}_{frame}.png\nlabels: labels/{sequence}_{frame}.png\nlabels_hold: colors\n"
        "classes: cityscapes\n"
    )
    return tmp_path


class ByColour:
    """The nearer the colour of a class, the higher its score; and how many images it saw."""

    def __init__(self) -> None:
        self.num_seen = 0
        palette = CITYSCAPES.palette[CITYSCAPES.id_of_train_id[np.arange(len(CITYSCAPES.train_names))]]
        self._colours = normalised(torch.from_numpy(palette).T[None, :, None])[0, :, 0].T

    def __call__(self, images: Tensor) -> Tensor:
        self.num_seen += len(images)
        return -(images[:, None] - self._colours[None, :, :, None, None]).square().sum(dim=2)


class Knows:
    """Sees where the road ends, and moves everything with it."""

    num_history = 1
    transfers = None
    fingerprint: Mapping[str, object] = {"motion": "known", "version": 3}

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        road = torch.from_numpy(CITYSCAPES.palette[CITYSCAPES.id_of_train_id[ROAD]])
        for step in steps:
            source, target = (
                int((observations[at].pixels[0, :, 0] == road[:, None]).all(dim=0).sum())
                for at in (step.source, step.target)
            )
            yield torch.tensor([float(source - target), 0.0]).view(1, 2, 1, 1).expand(1, 2, *SIZE)


def measured(root: Path, settings: TemporalSettings, network: ByColour | None = None) -> TemporalReport:
    options = DatasetOptions(root=root)
    dataset = open_dataset("folder", options)
    clips = clips_around(dataset, settings.num_before, settings.num_after, "root")
    labels = labels_in_succession(dataset, clips)
    network = network or ByColour()
    measure = TemporalMeasure(network, CITYSCAPES, clips, labels, Knows(), settings, Inference(), CPU)
    report = evaluate(network, open_labelled_frames("folder", options), Inference(), CPU, on_found=measure.add)
    assert report.failures or report.scores["miou"] == 1
    return measure.report()


def test_along_clips_is_counted_what_the_network_found(root: Path) -> None:
    network = ByColour()
    report = measured(root, TemporalSettings(is_measured=True, before=4, after=2), network)
    found = report.consistency
    assert network.num_seen == 7 + 6  # frames 3 … 9, and 4 … 9: the annotated ones once
    assert [(clip.key, clip.num_pairs) for clip in found.clips] == [("a_07", 6), ("a_08", 5)]
    assert (found.tc, found.mean_of_clips, found.ceiling, found.num_classes) == (1, 1, 1, 2)
    height, width = SIZE
    assert found.share_counted == 1 - SPEED / width
    road = [EDGE + SPEED * number for number in (*range(3, 9), *range(4, 9))]  # of the earlier frames of pairs
    of_road = sum(road) / sum(columns + SPEED for columns in road)
    of_car = sum(width - columns - SPEED for columns in road) / sum(width - columns for columns in road)
    assert found.floor == pytest.approx((of_road + of_car) / 2)
    assert found.clips[0].truth.sum() == found.clips[1].truth.sum() == height * (width - SPEED)  # from 7 to 8
    assert report.failures == ()


def test_a_motion_is_told_by_what_decides_its_numbers() -> None:
    assert told_motion({"motion": "none"}) == "none"
    told = told_motion({"motion": "raft", "num_updates": 12, "raft_weights": "0123456789abcdef" * 4})
    assert told == "raft (num_updates 12, raft_weights 0123456789abcdef)"


def test_a_clip_of_frames_that_cannot_be_used_is_left_out_and_the_rest_goes_on(root: Path) -> None:
    (root / "frames/a_02.png").write_bytes(b"no image")
    settings = TemporalSettings(is_measured=True)
    report = measured(root, settings)
    assert [clip.key for clip in report.consistency.clips] == ["a_08"]
    (failure,) = report.failures
    assert failure.image == "a_07"
    assert failure.reason.startswith("consistency of a_07: ")
    assert "a_02.png" in failure.reason
    (root / "frames/a_02.png").write_bytes(picture(2))
    (root / "frames/a_06.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    report = measured(root, settings)
    assert [failure.image for failure in report.failures] == ["a_07", "a_08"]
    assert "a frame of 8x8, but the annotated one of its clip is of 16x48; frames of" in report.failures[0].reason
    assert math.isnan(report.consistency.tc)
    assert json.loads(json.dumps(report.to_dict()))["share_counted"] is not None
    assert "| –" in report.markdown()


def test_clips_are_as_long_as_their_recordings(root: Path) -> None:
    dataset = open_dataset("folder", DatasetOptions(root=root))
    first, second = clips_around(dataset, 30, 1, "root")
    assert list(first.frames) == list(range(-7, 2))
    assert list(second.frames) == list(range(-8, 2))
    assert set(labels_in_succession(dataset, [first])) == {"a_07", "a_08"}
    assert labels_in_succession(dataset, clips_around(dataset, 0, 1, "root")[1:]) == {}
    for number in range(10):
        if number not in ANNOTATED[:1]:
            (root / f"frames/a_{number:02d}.png").unlink()
    (root / "labels/a_08.png").unlink()
    with pytest.raises(DataError, match="root: of 1 annotated frames none has another one within 5 before and 0 after"):
        clips_around(open_dataset("folder", DatasetOptions(root=root)), 5, 0, "root")


def test_the_published_clips_are_known_by_their_names(root: Path) -> None:
    names = published_names()
    assert len(names) == 108
    cities = [sum(name.startswith(city) for name in names) for city in ("frankfurt", "munster", "lindau")]
    assert cities == [56, 32, 20]
    clips = clips_around(open_dataset("folder", DatasetOptions(root=root)), 19, 10, "root")
    with pytest.raises(DataError, match="root: none of the 108 clips of the published measure is here"):
        published_clips(clips, "root")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_network(path, network_of("resnet18", num_classes=19), classes=CITYSCAPES, about={})
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(evaluate_command, [*map(str, args), "--device", "cpu"], catch_exceptions=False)


def test_the_command_says_it_beside_the_other_scores(root: Path, weights: Path) -> None:
    line = (weights, "--root", root, "--dataset", "folder", "--split", "train")
    assert "temporal" not in json.loads(run(*line, "--json").stdout)
    line = (*line, "--temporal", "--before", 1, "--scales", "1,0.5", "--flip")
    found = json.loads(run(*line, "--json").stdout)["temporal"]
    assert {"tc", "interval", "floor", "ceiling", "share_counted", "mean_of_clips"} < set(found)
    assert found["motion"]["motion"] == "dis"
    assert found["inference"]["scales"] == [1.0, 0.5]
    assert [clip["pairs"] for clip in found["clips"]] == [1, 1]
    assert set(found["classes"]) == set(CITYSCAPES.train_names)
    result = run(*line, "--motion", "none", "--out", root / "scores.md")
    assert (root / "scores.md").read_text() == result.stdout
    assert "2 clips, 2 pairs of frames, up to 1 before and 0 after the annotated one; motion none." in result.stdout
    assert "mIoU and TC by the same inference: scales 1, 0.5, mirrored too, whole images." in result.stdout


@pytest.fixture
def frankfurt(tmp_path: Path) -> Path:
    """Of the published clips one that is whole, one that is not, and one with a hole; and one that is none of them."""
    with_hole = [*range(3340, 3350), *range(3351, 3360)]
    annotated = {1016: range(997, 1027), 1236: range(1230, 1247), 3357: with_hole, 1751: range(1751, 1753)}
    for number, frames in annotated.items():
        files = {
            f"leftImg8bit_sequence/val/frankfurt/frankfurt_000000_{each:06d}_leftImg8bit.png": 3 for each in frames
        }
        files[f"gtFine/val/frankfurt/frankfurt_000000_{number:06d}_gtFine_labelIds.png"] = 0
        for name, channels in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(encode_png(np.full((8, 16, 3) if channels else (8, 16), 7, np.uint8)))
    return tmp_path


def test_the_command_measures_published_clips_as_published(frankfurt: Path, weights: Path) -> None:
    result = run(weights, "--root", frankfurt, "--temporal", "--as-published", "--motion", "none")
    assert result.exit_code == 1
    assert "TC as published: 1 clip of the 108 published ones, 29 pairs of frames" in result.stdout
    assert (
        "left out: consistency of frankfurt_000000_001236: the published measure takes 30 frames, -19 to 10 from the "
        "annotated one, found 17, -6 to 10; add the others"
    ) in result.stdout
    assert "003350_leftImg8bit.png: this frame is missing, though frankfurt_000000_003349, farther out" in result.stdout
    assert "left out: 2 clips (frankfurt_000000_001236, frankfurt_000000_003357)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as-published",), "--as-published is of the temporal consistency; add --temporal, or leave it out"),
        (("--before", 3), "--before is of the temporal consistency; add --temporal"),
        (("--motion", "none"), "--motion is of the temporal consistency; add --temporal"),
        (
            ("--temporal", "--as-published", "--before", 3),
            "--as-published takes 19 frames before the annotated one and 10 after it; leave out --before and --after",
        ),
        (("--temporal", "--before", 0), "needs two frames or more; choose --before or --after 1 or more"),
        (("--temporal", "--motion", "sdcnet"), "motion 'sdcnet' is made of two frames before; choose another, such as"),
        (
            ("--temporal", "--motion", "codec"),
            "have no vectors of a codec; have them made, with --transcode mpeg4",
        ),
        (("--temporal", "--raft-weights", "raft.pth"), "motion 'dis' has no setting raft_weights; leave it out"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...], said: str) -> None:
    result = run("weights.safetensors", "--root", "nowhere", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
