"""Frames between two annotated ones, from a data set to a store and what reads it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from propagate.data.images import encode_png
from propagate.job.status import status_of
from propagate.shards.manifest import load_manifest
from propagate.shards.reader import SampleRecord, Store, open_store
from propagate.shards.verify import verify_store
from segtrain.data.store_samples import open_store_samples

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SIZE = (64, 96)
SPEED = 2  # pixels to the right, a frame
LENGTH, ANNOTATED = 13, (1, 4, 9)
LAYOUT = """\
frames: "frames/{sequence}_{frame}.png"
labels: "labels/{sequence}_{frame}.png"
classes:
  name: two
  ignore_id: 255
  classes:
    - {id: 0, name: ground, train_id: 0, color: [128, 64, 128]}
    - {id: 1, name: thing, train_id: 1, color: [220, 20, 60]}
    - {id: 255, name: void, train_id: 255, color: [0, 0, 0]}
"""


def truth(number: int) -> np.ndarray:
    """[H,W] uint8 label ids: a disc that moves with the picture."""
    label = np.zeros(SIZE, np.uint8)
    cv2.circle(label, (30 + SPEED * number, 32), 14, 1, -1)
    return label


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A picture that moves sideways, with three annotated frames, 3 and 5 apart."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[0], SIZE[1] + SPEED * LENGTH, 3), np.uint8)
    wide = cv2.GaussianBlur(noise, (0, 0), 2)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    for folder in ("frames", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data" / "layout.yaml").write_text(LAYOUT)
    for number in range(LENGTH):
        start = SPEED * (LENGTH - number)
        frame = encode_png(np.ascontiguousarray(wide[:, start : start + SIZE[1]]))
        (tmp_path / "data" / "frames" / f"s_{number:02d}.png").write_bytes(frame)
    for number in ANNOTATED:
        (tmp_path / "data" / "labels" / f"s_{number:02d}.png").write_bytes(encode_png(truth(number)))
    return tmp_path / "data"


@pytest.fixture
def run(cli: Cli, root: Path) -> Callable[..., Store]:
    def call(*args: object, code: int = 0, frames: int | None = 4) -> Store:
        out = root.parent / "out"
        reach = () if frames is None else ("--frames", frames)
        done = cli("run", "--root", root, "--out", out, *reach, "--engine", "local", "--clips-per-shard", 1, *args)
        assert done.returncode == code, done.stderr
        return open_store(out)

    return call


def place(record: SampleRecord) -> tuple[str, str, str, int, str, int]:
    return record.key, record.origin, record.source_key, record.offset, record.second_source_key, record.second_offset


def test_frames_between_are_fused_once_and_named_by_the_nearer(run: Callable[..., Store]) -> None:
    store = run()
    assert sorted(place(record) for record in store.records()) == [
        ("s_00", "propagated", "s_01", -1, "", 0),
        ("s_01", "annotated", "s_01", 0, "", 0),
        ("s_02", "fused", "s_01", 1, "s_04", -2),
        ("s_03", "fused", "s_04", -1, "s_01", 2),
        ("s_04", "annotated", "s_04", 0, "", 0),
        ("s_05", "fused", "s_04", 1, "s_09", -4),
        ("s_06", "fused", "s_04", 2, "s_09", -3),
        ("s_07", "fused", "s_09", -2, "s_04", 3),
        ("s_08", "fused", "s_09", -1, "s_04", 4),
        ("s_09", "annotated", "s_09", 0, "", 0),
        ("s_10", "propagated", "s_09", 1, "", 0),
        ("s_11", "propagated", "s_09", 2, "", 0),
        ("s_12", "propagated", "s_09", 3, "", 0),
    ]
    status = status_of(store.path)
    assert (status.samples, status.planned_samples) == (13, 13)
    assert verify_store(store.path).faults == ()
    for sample in store.samples(images=False):
        assert (sample.label == truth(int(sample.key[-2:]))).mean() > 0.98
    assert [entry.origins for entry in load_manifest(store.path).entries()] == [
        {"annotated": 1, "fused": 2, "propagated": 1},
        {"annotated": 1, "fused": 4},
        {"annotated": 1, "propagated": 3},
    ]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (
            3,
            [
                ("fused", "s_04", "s_09"),
                ("fused", "s_04", "s_09"),
                ("fused", "s_09", "s_04"),
                ("fused", "s_09", "s_04"),
            ],
        ),
        (2, [("propagated", "s_04", ""), ("propagated", "s_04", "")] + [("propagated", "s_09", "")] * 2),
    ],
)
def test_frames_are_fused_where_two_neighbourhoods_meet(
    run: Callable[..., Store], frames: int, expected: list[tuple[str, str, str]]
) -> None:
    """The annotated frames are five apart."""
    store = run(frames=frames)
    records = sorted(
        (record.key, record.origin, record.source_key, record.second_source_key) for record in store.records()
    )
    assert [record[1:] for record in records if "s_05" <= record[0] <= "s_08"] == expected
    status = status_of(store.path)
    assert status.samples == status.planned_samples == len(store)


@pytest.mark.parametrize("args", [("--one-sided",), ("--pairing", "joint"), ("--resample", "recursive")])
def test_one_sided_each_annotated_frame_has_its_own_neighbours(
    run: Callable[..., Store], args: tuple[object, ...]
) -> None:
    store = run(*args)
    assert sum(entry.origins.get("fused", 0) for entry in load_manifest(store.path).entries()) == 0
    assert len(store) == status_of(store.path).planned_samples == 6 + 9 + 8


def test_at_chosen_offsets_each_annotated_frame_has_its_own_neighbours(run: Callable[..., Store]) -> None:
    """An annotated frame is a neighbour of another one too, and a frame between has a sample of either side."""
    store = run("--offsets", "-3,0,3,-2", frames=None)
    assert sorted(place(record) for record in store.records()) == [
        ("s_01", "annotated", "s_01", 0, "", 0),
        ("s_01", "propagated", "s_04", -3, "", 0),
        ("s_02", "propagated", "s_04", -2, "", 0),
        ("s_04", "annotated", "s_04", 0, "", 0),
        ("s_04", "propagated", "s_01", 3, "", 0),
        ("s_06", "propagated", "s_09", -3, "", 0),
        ("s_07", "propagated", "s_04", 3, "", 0),
        ("s_07", "propagated", "s_09", -2, "", 0),
        ("s_09", "annotated", "s_09", 0, "", 0),
        ("s_12", "propagated", "s_09", 3, "", 0),
    ]
    status = status_of(store.path)
    assert (status.samples, status.planned_samples) == (10, 10)
    assert verify_store(store.path).faults == ()


def test_a_frame_between_that_cannot_be_read_leaves_each_side_its_own_labels(
    run: Callable[..., Store], root: Path
) -> None:
    whole = (root / "frames" / "s_06.png").read_bytes()
    (root / "frames" / "s_06.png").write_bytes(whole[:100] + bytes(len(whole) - 100))
    store = run(code=1)
    assert sorted(place(record) for record in store.records())[5:8] == [
        ("s_05", "propagated", "s_04", 1, "", 0),
        ("s_07", "propagated", "s_09", -2, "", 0),
        ("s_08", "propagated", "s_09", -1, "", 0),
    ]
    assert [(failure.clip, failure.offset) for failure in load_manifest(store.path).failures] == [("s_04", 2)]
    assert verify_store(store.path).faults == ()
    (root / "frames" / "s_06.png").write_bytes(whole)
    assert len(run("--retry-failed")) == 13


def test_a_label_map_beyond_that_cannot_be_read_leaves_the_earlier_ones_labels(
    run: Callable[..., Store], root: Path
) -> None:
    whole = (root / "labels" / "s_09.png").read_bytes()
    (root / "labels" / "s_09.png").write_bytes(bytes(len(whole)))
    store = run(code=1)
    assert sorted(place(record) for record in store.records())[5:] == [
        (f"s_{4 + offset:02d}", "propagated", "s_04", offset, "", 0) for offset in range(1, 5)
    ]
    failures = [(failure.clip, failure.offset) for failure in load_manifest(store.path).failures]
    assert failures == [("s_04", 5), ("s_09", 0)]


def test_what_reads_stores_knows_samples_of_two_sides(run: Callable[..., Store], cli: Cli, root: Path) -> None:
    store = run()
    out = root.parent
    assert json.loads(cli("info", store.path, "--json").stdout)["origins"] == {
        "annotated": 3,
        "propagated": 4,
        "fused": 6,
    }
    for key, number in (("s_01", 4), ("s_04", 7), ("s_09", 8)):
        shown = cli("show", store.path, "--key", key, "--out", out / f"{key}.png")
        assert shown.stdout.endswith(f": {number} samples\n")
    report = cli("report", store.path, "--out", out / "page")
    assert report.returncode == 0, report.stderr
    (out / "truth").mkdir()
    for number in range(LENGTH):
        (out / "truth" / f"s_{number:02d}.png").write_bytes(encode_png(truth(number)))
    scores = json.loads(cli("evaluate", store.path, "--truth", out / "truth", "--json").stdout)
    assert (scores["scored"], scores["without_truth"]) == (10, 0)
    assert scores["miou"] > 0.9
    exported = cli("export", store.path, out / "tree", "--format", "camvid")
    assert exported.returncode == 0, exported.stderr
    assert len(list((out / "tree").rglob("s_*.png"))) == 2 * LENGTH
    beside = open_store_samples(store.path, offsets=(-1, 1))
    assert sorted(record.key for record in beside.records) == [f"s_{number:02d}" for number in range(1, LENGTH - 1)]
