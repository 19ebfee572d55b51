"""Scores of schemes on clips whose right answers are known, by a network that sees classes by their colours."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.steppers import RUNTIME, network_of
from torch import Tensor, nn

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from sdcnet.motion.estimator import Observation, Step
from segtrain.checkpoints import save_network
from segtrain.cli.video_evaluate import video_evaluate
from segtrain.errors import DataError
from segtrain.evaluation.clips import labels_in_succession
from segtrain.evaluation.report import LeftOut
from segtrain.models.network import IMAGE, SegmentationNetwork, Stage, at_image_size
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import NETWORKS
from segtrain.video import tiled
from segtrain.video.clips import clips_with
from segtrain.video.evaluate import evaluate_video
from segtrain.video.page import page_of
from segtrain.video.registry import SchemeSettings, settings_of_each
from segtrain.video.report import VideoReport
from segtrain.video.tiled import Tiling

CITYSCAPES = load_classes("cityscapes")
ROAD, CAR = (CITYSCAPES.train_names.index(name) for name in ("road", "car"))
HEIGHT, WIDTH, EDGE, SPEED, LAST = 32, 64, 20, 3, 7  # of a picture whose left is road: its right edge moves


class ByColour(SegmentationNetwork):
    """The nearer the colour of a class, the higher its score."""

    head = frozenset()

    def __init__(self, architecture: str, *, num_classes: int, output_stride: int, **_: bool) -> None:
        super().__init__(architecture, num_classes=num_classes, output_stride=output_stride)
        self.stage_names, self.foreign_names = (), {}
        self.colours = nn.Conv2d(3, num_classes, 1)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("context", (IMAGE,), nn.Identity()),
            Stage("decoder", ("context",), self.colours),
            Stage("logits", ("decoder", IMAGE), at_image_size),
        )


def by_colour() -> ByColour:
    network = ByColour("by-colour", num_classes=len(CITYSCAPES.train_names), output_stride=8)
    palette = CITYSCAPES.palette[CITYSCAPES.id_of_train_id.clip(min=0)[np.arange(network.num_classes)]]
    seen = normalised(torch.from_numpy(palette).T[None, :, :, None])[0, :, :, 0].T
    network.colours.weight.data = 2 * seen[:, :, None, None]
    network.colours.bias.data = -seen.square().sum(dim=1)
    return RUNTIME.prepare(network)


class ShiftedRight:
    """Knows that everything moves SPEED pixels to the right from a frame to the next."""

    num_history = 1
    transfers = None
    fingerprint: Mapping[str, object] = {"motion": "known"}

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for _ in steps:
            height, width = observations[0].pixels.shape[-2:]
            yield torch.tensor([-float(SPEED), 0.0]).view(1, 2, 1, 1).expand(1, 2, height, width)


@pytest.fixture(autouse=True)
def by_colour_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NETWORKS, "_things", {**NETWORKS._things, "by-colour": ByColour})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frames 0 … 9 of one sequence, and the label map of frame 7, which is that frame itself: labels are colours."""
    for name in ("frames", "labels"):
        (tmp_path / name).mkdir()
    for number in range(LAST + 3):
        train_ids = np.full((HEIGHT, WIDTH), CAR, np.uint8)
        train_ids[:, : EDGE + SPEED * number] = ROAD
        picture = encode_png(CITYSCAPES.palette[CITYSCAPES.id_of_train_id[train_ids]])
        (tmp_path / f"frames/a_{number:02d}.png").write_bytes(picture)
        if number == LAST:
            (tmp_path / f"labels/a_{number:02d}.png").write_bytes(picture)
    (tmp_path / "layout.yaml").write_text(
        "frames: frames/{sequence}_{frame}.png\nlabels: labels/{sequence}_{frame}.png\nlabels_hold: colors\n"
        "classes: cityscapes\n"
    )
    return tmp_path


def evaluated(root: Path, *schemes: SchemeSettings, tiling: Tiling | None = None) -> VideoReport:
    clips = clips_with(open_dataset("folder", DatasetOptions(root=root)), 3, "root")
    return evaluate_video(by_colour(), CITYSCAPES, clips, schemes, ShiftedRight(), RUNTIME, tiling=tiling)


def miou_where_the_edge_is_off_by(columns: int) -> float:
    """Of road and car, where so many columns of road were found to be car."""
    road = EDGE + SPEED * LAST
    return ((road - columns) / road + (WIDTH - road) / (WIDTH - road + columns)) / 2


def test_every_distance_has_the_score_that_it_must_have(root: Path) -> None:
    report = evaluated(
        root,
        SchemeSettings(name="per-frame"),
        SchemeSettings(name="copy", interval=4),
        SchemeSettings(name="warp-labels", interval=4),
    )
    per_frame, copy, warped = report.schemes
    assert per_frame.by_distance == {0: 1.0}
    assert copy.by_distance == pytest.approx({d: miou_where_the_edge_is_off_by(SPEED * d) for d in range(4)})
    assert warped.by_distance == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}
    scores = copy.scores
    assert scores["miou"] == pytest.approx(_of_the_sum(range(4)))
    assert scores["worst_miou"] == copy.by_distance[3]
    assert scores["trimap_miou"] == pytest.approx((3 / 12 + 12 / (12 + 9)) / 2)  # 3 columns a side
    assert scores["accuracy"] == pytest.approx(1 - SPEED * (0 + 1 + 2 + 3) / (4 * WIDTH))
    assert (report.clips, report.size, report.failures) == (1, (HEIGHT, WIDTH), ())


def _of_the_sum(distances: Sequence[int]) -> float:
    road, off = EDGE + SPEED * LAST, [SPEED * distance for distance in distances]
    number = len(off)
    iou_road = (number * road - sum(off)) / (number * road)
    iou_car = number * (WIDTH - road) / (number * (WIDTH - road) + sum(off))
    return (iou_road + iou_car) / 2


def test_costs_are_those_of_the_frames_that_are_scored(root: Path) -> None:
    report = evaluated(root, *settings_of_each(("per-frame", "copy", "warp-scores"), SchemeSettings(interval=4)))
    per_frame, copy, warped = (score.costs for score in report.schemes)
    gmacs = 3 * 19 * HEIGHT * WIDTH / 1e9
    assert (per_frame["gmacs"], per_frame["full_share"]) == (gmacs, 1.0)
    assert (copy["gmacs"], copy["full_gmacs"], copy["other_gmacs"]) == (gmacs / 4, gmacs, 0.0)
    assert copy["full_share"] == 0.25
    assert (copy["motion_milliseconds"], per_frame["motion_milliseconds"]) == (0.0, 0.0)
    assert warped["motion_milliseconds"] > 0
    moved = warped["milliseconds"] - warped["network_milliseconds"]
    assert moved == pytest.approx(0.75 * warped["motion_milliseconds"])


def test_a_scheme_pays_for_the_motion_that_it_asks_for_alone(root: Path) -> None:
    """Whatever was found for others before; and for both ways where its gate looks at both."""
    gated = SchemeSettings(name="warp-scores", interval=4, gate="occlusion")
    report = evaluated(root, gated, *(SchemeSettings(name=name, interval=4) for name in ("copy", "warp-scores")))
    both, copy, warped = (score.costs for score in report.schemes)
    assert copy["motion_milliseconds"] == 0
    assert copy["milliseconds"] == copy["network_milliseconds"]
    assert both["motion_milliseconds"] == pytest.approx(2 * warped["motion_milliseconds"])


def test_clips_that_were_left_out_are_on_the_page(root: Path) -> None:
    report = evaluated(root, SchemeSettings(name="copy", interval=2))
    page = page_of(replace(report, failures=(LeftOut(image="a", reason="a.png: <bad>"),)))
    assert "Left out: a.png: &lt;bad&gt;" in page


def test_consistency_is_measured_beside_that_of_the_truth(root: Path) -> None:
    (root / f"labels/a_{LAST - 1:02d}.png").write_bytes((root / f"frames/a_{LAST - 1:02d}.png").read_bytes())
    dataset = open_dataset("folder", DatasetOptions(root=root))
    clips = clips_with(dataset, 3, "root")
    report = evaluate_video(
        by_colour(),
        CITYSCAPES,
        clips,
        [SchemeSettings(name="copy", interval=4)],
        ShiftedRight(),
        RUNTIME,
        labels=labels_in_succession(dataset, clips),
    )
    assert report.schemes[0].consistency.ceiling > 0.85  # DIS sees the edge alone
    clip, other = report.schemes[0].temporal
    assert clip.truth.sum() == other.truth.sum() > 0.8 * HEIGHT * WIDTH
    assert (clip.num_pairs, other.num_pairs) == (6, 5)
    assert "along the motion dis (opencv" in report.markdown()


def test_clips_too_short_say_so(root: Path) -> None:
    dataset = open_dataset("folder", DatasetOptions(root=root))
    with pytest.raises(DataError, match="of 1 annotated frames none has 9 frames before it, the most are 7; choose"):
        clips_with(dataset, 9, "root")


def test_a_clip_that_cannot_be_read_is_a_failure(root: Path) -> None:
    (root / "frames/a_06.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 1 clips can be read; the first: .*a_06\.png"):
        evaluated(root, SchemeSettings(name="per-frame"))


def call(*args: object) -> Result:
    return CliRunner().invoke(video_evaluate, [str(arg) for arg in args], catch_exceptions=False)


def test_the_command_prints_tables_or_json_and_writes_a_page(root: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    network = network_of("resnet18", num_classes=19)
    save_network(weights, network, classes=CITYSCAPES, about={})
    data = ("--dataset", "folder", "--root", root, "--split", "train")
    schemes = ("--scheme", "warp-scores", "--scheme", "copy", "--interval", 2, "--motion", "none")
    result = call(weights, *data, *schemes, "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [scheme["scheme"] for scheme in found["schemes"]] == [
        "per-frame",
        "warp-scores interval=2",
        "copy interval=2",
    ]
    assert set(found["schemes"][1]["miou_by_distance"]) == {"0", "1"}
    assert list(found["stage_gmacs"]) == [stage.name for stage in network.stages]
    assert sum(found["stage_gmacs"].values()) == pytest.approx(found["schemes"][0]["gmacs"])
    temporal = found["schemes"][1]["temporal"]
    assert temporal["tc"] == found["schemes"][1]["temporal_miou"]
    assert [clip["pairs"] for clip in temporal["clips"]] == [2]
    assert (temporal["interval"], temporal["ceiling"]) == ([None, None], None)
    assert found["temporal_motion"]["motion"] == "dis"
    assert found == json.loads((tmp_path / "out/video.json").read_text())
    page = (tmp_path / "out/index.html").read_text()
    assert "<h2>Temporal consistency</h2>" in page
    assert page.count("<video") == 3
    assert page.count('class="point"') >= 3 + 1 + 2 + 2
    band = ("--band", 2, "--band-shape", "square")
    tables = call(weights, *data, *schemes, "--scheme", "pipelined-clockwork", "--distances", "0,1", *band).stdout
    assert "| warp-scores interval=2 |" in tables
    assert "| trimap mIoU, 2 px square |" in tables
    assert "| mIoU at distance       |   0 |   1 |" in tables
    assert "95 % within" in tables
    (costs,) = (line for line in tables.splitlines() if line.startswith("| pipelined-clockwork ") and "%" in line)
    assert costs.endswith(" 50 % |")  # of the second frame all is computed, but of what is left of the first


TILING = Tiling(tile=24, stride=16, scales=(1.0, 1.5))
NUM_TILES = 2 * (2 * 4 + 3 * 6)


def test_motion_leads_from_frame_to_frame_in_tiles(root: Path) -> None:
    warped, copy = evaluated(
        root,
        SchemeSettings(name="warp-labels", interval=2),
        SchemeSettings(name="copy", interval=2),
        tiling=TILING,
    ).schemes
    assert warped.by_distance[0] > 0.97  # the edge may move by a pixel
    assert warped.by_distance[1] > 0.97
    assert copy.by_distance[1] == pytest.approx(miou_where_the_edge_is_off_by(SPEED), abs=0.03)


def test_the_command_sees_frames_in_tiles(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "PUBLISHED", TILING)
    weights = tmp_path / "weights.safetensors"
    save_network(weights, by_colour(), classes=CITYSCAPES, about={})
    data = ("--dataset", "folder", "--root", root, "--split", "train")
    result = call(weights, *data, "--scheme", "copy", "--interval", 2, "--tiles", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["tiles"]
    per_frame, copy = found["schemes"]
    assert per_frame["gmacs"] == pytest.approx(NUM_TILES * 3 * 19 * TILING.tile**2 / 1e9)
    assert (copy["full_share"], copy["other_gmacs"]) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--distances", "3-1"), "--distances 3-1: expected FIRST-LAST, as 0-11, or a list"),
        (("--distances", "a"), "--distances a: expected FIRST-LAST"),
        (("--distances", "0,7-5"), "--distances 0,7-5: expected FIRST-LAST"),
        (
            ("--scheme", "copy", "--motion", "none"),
            "--motion has no effect on per-frame, copy: nothing is carried along",
        ),
        (("--scheme", "copy", "--chain", "recursive"), "none of the schemes per-frame, copy has --chain; leave it out"),
    ],
)
def test_options_that_make_no_sense_are_refused(root: Path, arguments: tuple[str, ...], said: str) -> None:
    result = call("weights.safetensors", "--root", root, *arguments)
    assert result.exit_code == 2
    assert said in result.output
