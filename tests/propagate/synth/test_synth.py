"""The synthetic data set: its layout, and that its truth is true."""

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from propagate.data.classes import load_classes
from propagate.errors import DatasetError, InputError
from propagate.synth import write
from propagate.synth.config import StreetConfig
from propagate.synth.render import Rendered, Renderer
from propagate.synth.shapes import box, disc, ellipsoid
from propagate.synth.street import build_scene
from propagate.synth.truth import read_occlusion, truth_path
from propagate.synth.view import SKY, Snapshot
from propagate.synth.write import city_name, write_dataset, write_splits, write_true_flow
from sdcnet.errors import FlowFileError
from sdcnet.flow_files import read_flow
from sdcnet.geometry import compose, inside, length, warp_frames, warp_labels

pytestmark = pytest.mark.slow

CITY = "synthburg"
LENGTH, WRITTEN = 25, range(12, 25)  # of the snippets of `street`
NEIGHBOURS = ((1, "next"), (-1, "previous"))


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image


def read_true_flow(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """[2,H,W] float32 pixels, and where it is valid: bool [H,W]."""
    flow, valid = read_flow(path)
    return flow[0].numpy(), valid[0, 0].numpy()


def truth_folder(root: Path) -> Path:
    return root / "truth" / "train" / CITY


def key(snippet: int, frame: int) -> str:
    return f"{CITY}_{snippet:06d}_{frame:06d}"


def batch(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))[None]


def away_from_boundaries(labels: np.ndarray) -> np.ndarray:
    kernel = np.ones((3, 3), np.uint8)
    return cv2.erode(labels, kernel) == cv2.dilate(labels, kernel)


# layout


def test_every_file_of_the_layout_is_there_and_no_other(street: Path) -> None:
    expected = {Path("truth/README.txt")}
    for snippet in range(3):
        expected.add(Path(f"gtFine/train/{CITY}/{key(snippet, 19)}_gtFine_labelIds.png"))
        for frame in WRITTEN:
            name = key(snippet, frame)
            expected.add(Path(f"leftImg8bit_sequence/train/{CITY}/{name}_leftImg8bit.png"))
            endings = ["gtFine_labelIds"]
            if frame < LENGTH - 1:
                endings += ["flow_to_next", "occluded_in_next"]
            if frame > 0:
                endings += ["flow_to_previous", "occluded_in_previous"]
            expected |= {Path(f"truth/train/{CITY}/{name}_{ending}.png") for ending in endings}
    assert {path.relative_to(street) for path in street.rglob("*") if path.is_file()} == expected


def test_the_files_hold_what_their_formats_say(street: Path) -> None:
    truth, name = truth_folder(street), key(1, 19)
    frame = read(street / "leftImg8bit_sequence" / "train" / CITY / f"{name}_leftImg8bit.png")
    labels = read(street / "gtFine" / "train" / CITY / f"{name}_gtFine_labelIds.png")
    assert (frame.shape, frame.dtype) == ((128, 256, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((128, 256), np.uint8)
    assert np.array_equal(labels, read(truth_path(truth, name, "gtFine_labelIds")))
    stored = read(truth_path(truth, name, "flow_to_next"))
    assert (stored.shape, stored.dtype) == ((128, 256, 3), np.uint16)
    assert set(np.unique(stored[..., 0])) <= {0, 1}
    assert set(np.unique(read(truth_path(truth, name, "occluded_in_next")))) == {0, 255}


def test_snippets_are_dealt_out_to_cities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr("propagate.synth.write._write_snippet", lambda *which: written.append(which[2:4]))
    write_dataset(tmp_path, num_cities=2, num_snippets=3)
    assert written == [("synthburg", 0), ("rasterstadt", 0), ("synthburg", 1)]
    assert [city_name(n) for n in (0, 1, 8)] == ["synthburg", "rasterstadt", "synthburg2"]


def test_a_snippet_does_not_depend_on_how_many_are_made(street: Path, tmp_path: Path) -> None:
    done: list[int] = []
    write_dataset(tmp_path, num_snippets=1, size=(128, 256), length=LENGTH, around=1, seed=5, on_progress=done.append)
    assert sum(done) == 3
    written = list(tmp_path.rglob("*.png"))
    assert len(written) == 3 + 1 + 3 * 5
    for path in written:
        assert path.read_bytes() == (street / path.relative_to(tmp_path)).read_bytes(), path


def test_snippets_differ(street: Path) -> None:
    first, second = (read(truth_path(truth_folder(street), key(n, 19), "gtFine_labelIds")) for n in (0, 1))
    assert (first != second).mean() > 0.1


# content


def test_scenes_are_rich_and_move_as_driving_does(street: Path) -> None:
    train_id_of = load_classes("cityscapes").train_id_of
    seen: set[int] = set()
    speeds = []
    for snippet in range(3):
        labels = read(truth_path(truth_folder(street), key(snippet, 19), "gtFine_labelIds"))
        assert set(np.unique(labels)) <= {c.id for c in load_classes("cityscapes").classes}
        seen |= set(train_id_of[labels].ravel().tolist()) - {255}
        flow, _ = read_true_flow(truth_path(truth_folder(street), key(snippet, 19), "flow_to_next"))
        speeds.append(np.hypot(*flow[:, labels != 1]))
    assert len(seen) >= 12
    pixels = np.concatenate(speeds) * 2  # at 256x512
    assert 1 < np.median(pixels) < 8
    assert 6 < np.percentile(pixels, 99) < 40


def test_brightness_drifts_and_noise_is_fresh(street: Path) -> None:
    folder = street / "leftImg8bit_sequence" / "train" / CITY
    bonnet = read(truth_path(truth_folder(street), key(0, 19), "gtFine_labelIds")) == 1
    frames = np.stack([read(folder / f"{key(0, n)}_leftImg8bit.png")[bonnet] for n in WRITTEN]).astype(float)
    means = frames.mean((1, 2))
    assert means.max() / means.min() > 1.04
    assert (np.diff(frames, axis=0) - np.diff(means)[:, None, None]).std() > 0.5


# truth


@pytest.mark.parametrize(("offset", "name"), NEIGHBOURS)
@pytest.mark.parametrize("snippet", [0, 1, 2])
def test_flow_carries_the_neighbours_labels_to_where_they_are(
    street: Path, snippet: int, offset: int, name: str
) -> None:
    truth = truth_folder(street)
    for frame in (15, 19):
        here, there = (read(truth_path(truth, key(snippet, n), "gtFine_labelIds")) for n in (frame, frame + offset))
        flow, valid = read_true_flow(truth_path(truth, key(snippet, frame), f"flow_to_{name}"))
        occluded = read_occlusion(truth_path(truth, key(snippet, frame), f"occluded_in_{name}"))
        same = warp_labels(batch(there[None]), batch(flow))[0, 0].numpy() == here
        clear = away_from_boundaries(here) & valid
        assert same[clear & ~occluded].mean() > 0.995
        assert 0.005 < occluded.mean() < 0.4
        assert same[occluded].mean() < 0.85


@pytest.fixture(scope="module")
def pair() -> tuple[Rendered, Rendered]:
    """Two frames that follow one another, before the sensor spoils them."""
    renderer = Renderer(build_scene(np.random.default_rng(3), 30), (128, 256))
    return renderer.render(10), renderer.render(11)


def test_flow_carries_the_neighbours_colours(pair: tuple[Rendered, Rendered]) -> None:
    here, there = pair
    warped = warp_frames(batch(there.image.transpose(2, 0, 1)), batch(here.flow_to[1]))[0].numpy()
    error = np.abs(warped - here.image.transpose(2, 0, 1)).mean(0)
    clear, hidden = away_from_boundaries(here.labels), here.occluded_in[1]
    assert error[clear & ~hidden].mean() < 0.015
    assert error[hidden].mean() > 5 * error[clear & ~hidden].mean()
    still = np.abs(there.image - here.image).mean(2)
    assert still[clear & ~hidden].mean() > 2 * error[clear & ~hidden].mean()


def test_flow_leads_back_wherever_the_point_is_seen(pair: tuple[Rendered, Rendered]) -> None:
    here, there = pair
    forward = batch(here.flow_to[1])
    error = length(compose(forward, batch(there.flow_to[-1])))[0, 0].numpy()
    seen, lands_inside = ~here.occluded_in[1], inside(forward)[0, 0].numpy()
    assert np.percentile(error[seen], 90) < 0.05
    assert np.median(error[~seen & lands_inside]) > 0.5
    assert not (seen & ~lands_inside).any()


def test_the_bonnet_stands_still_and_the_sky_only_turns() -> None:
    scene = build_scene(np.random.default_rng(3), 30)
    rendered = Renderer(scene, (128, 256)).render(10)
    assert np.abs(rendered.flow_to[1][:, rendered.labels == 1]).max() < 1e-3
    here, there = Snapshot(scene, 10), Snapshot(scene, 11)
    x, y = np.zeros(1, np.float32), np.full(1, -0.15, np.float32)
    hits = here.cast(x, y)
    hits.solid[:], hits.inverse_depth[:] = SKY, 0
    turned = there.camera[:3, :3].T @ here.camera[:3, :3] @ (0, -0.15, 1)
    moved = here.follow(there, x, y, hits)
    assert np.allclose((moved[0][0], moved[1][0]), turned[:2] / turned[2], atol=1e-6)


def test_an_instance_has_one_label_and_the_same_number_in_every_frame(pair: tuple[Rendered, Rendered]) -> None:
    renderer = Renderer(build_scene(np.random.default_rng(3), 30), (128, 256))
    labels: dict[int, set[int]] = {}
    for number, rendered in zip((10, 11), pair, strict=True):
        found = renderer.instances(number)
        assert (found.shape, found.dtype) == (rendered.labels.shape, np.uint16)
        for instance in np.unique(found).tolist():
            labels.setdefault(instance, set()).update(np.unique(rendered.labels[found == instance]).tolist())
    assert all(len(each) == 1 for each in labels.values())
    cars = [instance for instance, each in labels.items() if each == {26}]
    assert len(cars) > 1  # things, not labels


def test_a_frame_at_an_end_has_one_neighbour() -> None:
    renderer = Renderer(build_scene(np.random.default_rng(3), 20), (64, 128))
    assert set(renderer.render(0).flow_to) == set(renderer.render(0).occluded_in) == {1}
    assert set(renderer.render(19).flow_to) == {-1}


# shapes

HERE = np.eye(4)[:3]


def rays(*points: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.array(points, np.float32).T
    return x, y


def test_rays_meet_a_box_where_it_is() -> None:
    depth = box((-1, -1, 4), (1, 1, 8)).inverse_depth(*rays((0, 0), (0.24, 0.24), (0.26, 0), (0, -0.5)), HERE)
    assert np.allclose(depth, (0.25, 0.25, 0, 0))


def test_rays_meet_the_ground_down_to_the_horizon() -> None:
    ground = box((-np.inf, 1.5, -np.inf), (np.inf, 3, np.inf))
    assert np.allclose(ground.inverse_depth(*rays((0, 0.3), (2, 0.003), (0, 0), (0, -0.1)), HERE), (0.2, 0.002, 0, 0))


def test_rays_meet_an_ellipsoid_in_front_only() -> None:
    ahead, behind = ellipsoid((0, 0, 10), (1, 2, 4)), ellipsoid((0, 0, -10), (1, 2, 4))
    aim = rays((0, 0), (0.3, 0), (0, 0.15))
    depth = ahead.inverse_depth(*aim, HERE)
    assert depth[0] == pytest.approx(1 / 6)
    assert depth[1] == 0
    point = np.array(((0, 0.15, 1),)) / depth[2]
    assert ((point - (0, 0, 10)) ** 2 / (1, 4, 16)).sum() == pytest.approx(1, rel=1e-5)
    assert not behind.inverse_depth(*aim, HERE).any()


def test_nothing_is_seen_from_inside() -> None:
    for shape in (box((-1, -1, -1), (1, 1, 1)), ellipsoid((0, 0, 0), (1, 1, 1)), disc(0, 0, 1, 2, -1, 1)):
        assert not shape.inverse_depth(*rays((0, 0), (0.5, 0.5)), HERE).any()


# files


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reach=st.floats(0.1, 500))
def test_flow_survives_its_file(tmp_path_factory: pytest.TempPathFactory, seed: int, reach: float) -> None:
    flow = np.random.default_rng(seed).uniform(-reach, reach, (2, 5, 7)).astype(np.float32)
    path = tmp_path_factory.mktemp("flow") / "flow.png"
    write_true_flow(path, flow)
    read_back, valid = read_true_flow(path)
    assert valid.all()
    assert read_back.dtype == np.float32
    assert np.abs(read_back - flow).max() <= 1 / 128 + 1e-4


def test_flow_is_stored_as_kitti_stores_it(tmp_path: Path) -> None:
    write_true_flow(tmp_path / "flow.png", np.array((((1.5,),), ((-2.0,),)), np.float32))
    blue, green, red = read(tmp_path / "flow.png")[0, 0]
    assert (red, green, blue) == (32768 + 96, 32768 - 128, 1)


def test_flow_is_rounded_to_the_nearest_64th_of_a_pixel(tmp_path: Path) -> None:
    """In float32, 1.499 added to 32768 is 1.5: the rounding must come before the sum."""
    write_true_flow(tmp_path / "flow.png", np.array((((1.499 / 64,),), ((-1.499 / 64,),)), np.float32))
    _, green, red = read(tmp_path / "flow.png")[0, 0]
    assert (red, green) == (32769, 32767)


def test_flow_that_cannot_be_stored_is_invalid(tmp_path: Path) -> None:
    flow = np.zeros((2, 1, 3), np.float32)
    flow[0, 0] = np.nan, 512, 511
    write_true_flow(tmp_path / "flow.png", flow)
    read_back, valid = read_true_flow(tmp_path / "flow.png")
    assert valid.tolist() == [[False, False, True]]
    assert read_back[0].tolist() == [[0, 0, 511]]


def test_a_file_that_holds_no_flow_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.png"
    with pytest.raises(FlowFileError, match=r"flow\.png: cannot be read \(No such file"):
        read_flow(path)
    path.write_text("not a picture")
    with pytest.raises(FlowFileError, match=r"begins with b'not a pi', which no PNG does"):
        read_flow(path)
    cv2.imwrite(str(path), np.zeros((3, 4), np.uint8))
    with pytest.raises(FlowFileError, match="PNG of 8 bits in 1 channels, expected flow"):
        read_flow(path)


def test_a_file_that_holds_no_occlusion_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "occluded.png"
    with pytest.raises(InputError, match=r"occluded\.png: cannot be read \(No such file"):
        read_occlusion(path)
    path.write_text("not a picture")
    with pytest.raises(InputError, match=r"found no image, expected a PNG of uint8 \[H,W\]"):
        read_occlusion(path)
    cv2.imwrite(str(path), np.zeros((3, 4, 3), np.uint16))
    with pytest.raises(InputError, match=r"found uint16 of shape \(3, 4, 3\), expected"):
        read_occlusion(path)


# refusals


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"length": 19}, "have no frame 19, which is the annotated one; ask for a length of at least 20"),
        ({"size": (32, 512)}, "frames of 32x512 pixels are too small; ask for 64x128 or more"),
        ({"num_cities": 0}, "0 cities asked for"),
        ({"num_cities": 3, "num_snippets": 2}, "2 snippets for 3 cities; ask for at least one snippet for each"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"around": -1}, "-1 frames around an annotated one; ask for 0 or more"),
        ({"around": 1, "speed": 4}, "1 frames around an annotated one; ask for 0 or more, of drives alone"),
        ({"split": "../train"}, "'../train' cannot name a folder"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(tmp_path: Path, request_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "new", **request_)
    assert not (tmp_path / "new").exists()


def test_another_split_can_be_added_and_shares_no_key(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_dataset(tmp_path, split=split, num_snippets=1, size=(64, 128), length=20, around=1)
    names = [path.name for path in (tmp_path / "leftImg8bit_sequence").rglob("*.png")]
    assert len(set(names)) == len(names) == 2 * 2  # the last of twenty is the annotated one
    with pytest.raises(DatasetError, match=r"\(found leftImg8bit_sequence/val, gtFine/val, truth/val\)"):
        write_dataset(tmp_path, split="val")


def test_a_data_set_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "gtFine").mkdir()
    with pytest.raises(DatasetError, match=r"already holds a data set \(found gtFine\); remove it, or name another"):
        write_dataset(tmp_path)


def test_a_destination_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot be written \(Not a directory\); name a folder"):
        write_dataset(tmp_path / "file" / "street")


def test_splits_are_refused_before_any_is_written(tmp_path: Path) -> None:
    write_dataset(tmp_path / "old", split="val", num_snippets=1, size=(64, 128), length=20, around=0)
    with pytest.raises(DatasetError, match="already holds a data set"):
        write_splits(StreetConfig(dest=tmp_path / "old", splits=("train", "val"), size=(64, 128)))
    assert not (tmp_path / "old" / "gtFine" / "train").exists()
    for asked_for, message in (
        ({"splits": ("train", "train")}, "splits train, train: each can be written once"),
        ({"splits": ("train", "va l")}, "split 'va l' cannot name a folder"),
        ({"size": (32, 32)}, "frames of 32x32 pixels are too small"),
        ({"seed": -1}, "seed -1 is negative"),
    ):
        with pytest.raises(ValueError, match=message):
            StreetConfig(dest=tmp_path / "new", **asked_for)  # type: ignore[arg-type]


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(write, "_write_png", full)
    with pytest.raises(DatasetError, match=r"street: cannot be written \(No space left on device\), and is not whole"):
        write_dataset(tmp_path / "street", num_snippets=1, size=(64, 128), length=20, around=0)
