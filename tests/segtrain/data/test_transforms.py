"""Crops of images and label maps: where they lie, that both keep together, and what is exact."""

import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.crops import PALETTE, SIZE, assert_equal, boxes, crop_of, noise, of_both, part, plain

from segtrain.data.dataset import Pixels, Window
from segtrain.data.transforms import MEAN_COLOUR, Augmentation, View, apply_view, draw_view


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": (0, 4)}, r"crop must have 1 pixel or more .* found \(0, 4\)"),
        ({"scale": (2.0, 0.5)}, r"the lower first, found \(2.0, 0.5\)"),
        ({"scale": (0.0, 1.0)}, "two ends above 0"),
        ({"scale": (1.0, float("nan"))}, "two ends above 0"),
        ({"colour": 1.5}, "colour must be within 0…1, found 1.5"),
        ({"rotation": -1.0}, "rotation must be within 0…180 degrees, found -1.0"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**{"crop": (8, 8), **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("rotation", [0.0, 25.0, 180.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("crop", [(1, 1), (40, 60), (120, 50), (300, 400)])
def test_a_crop_has_its_size_and_needs_a_part_of_the_image(
    crop: tuple[int, int], scale: float, rotation: float
) -> None:
    augmentation = plain(crop, scale, rotation=rotation, flip=True, colour=0.25, blur=True)
    for seed in range(10):
        view = draw_view(SIZE, None, augmentation, np.random.default_rng(seed))
        window = view.window
        assert 0 <= window.top < window.top + window.height <= SIZE[0]
        assert 0 <= window.left < window.left + window.width <= SIZE[1]
        image, label, *_ = apply_view(part(noise(), window), view, augmentation, np.random.default_rng(seed))
        assert (image.shape, label.shape) == ((*crop, 3), crop)
        assert image.dtype == label.dtype == np.uint8
        assert image.flags.c_contiguous
        assert label.flags.c_contiguous


@pytest.mark.parametrize("rotation", [0.0, 40.0])
@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("crop", [(1, 1), (7, 10), (200, 30), (300, 400)])
def test_a_crop_around_a_point_shows_it(crop: tuple[int, int], scale: float, rotation: float) -> None:
    """The published crop can end a pixel before its centroid."""
    random = np.random.default_rng(3)
    corners = [(0, 0), (SIZE[1] - 1, 0), (0, SIZE[0] - 1), (SIZE[1] - 1, SIZE[0] - 1)]
    points = corners + [(int(random.integers(SIZE[1])), int(random.integers(SIZE[0]))) for _ in range(30)]
    for seed, (x, y) in enumerate(points):
        pixels = noise()
        pixels.label[y, x] = 77
        crop_label = crop_of(pixels, plain(crop, scale, rotation=rotation, flip=True), seed, (x, y)).label
        assert 77 in crop_label, (x, y)


def test_a_crop_that_shrinks_lies_over_its_point() -> None:
    for seed in range(50):
        x, y = np.random.default_rng(seed).integers((SIZE[1], SIZE[0])).tolist()
        window = draw_view(SIZE, (x, y), plain((20, 20), 0.5), np.random.default_rng(seed)).window
        assert window[2:] == (40, 40)
        assert window.top <= y < window.top + 40
        assert window.left <= x < window.left + 40


def test_every_place_that_holds_the_point_is_drawn() -> None:
    augmentation = plain((10, 20))
    windows = [draw_view(SIZE, (70, 3), augmentation, np.random.default_rng(seed)).window for seed in range(600)]
    assert {window.left for window in windows} == set(range(51, 71))
    assert {window.top for window in windows} == set(range(4))
    anywhere = [draw_view(SIZE, None, augmentation, np.random.default_rng(seed)).window for seed in range(1500)]
    assert {window.left for window in anywhere} == set(range(SIZE[1] - 19))


def test_a_point_outside_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(140, 3\) lies outside an image of 90x140 pixels"):
        draw_view(SIZE, (140, 3), plain((8, 8)), np.random.default_rng(0))


def test_pixels_of_another_window_are_refused() -> None:
    view = draw_view(SIZE, None, plain((8, 8)), np.random.default_rng(0))
    with pytest.raises(ValueError, match="for a window of 8x8; read both with that window"):
        apply_view(noise(), view, plain((8, 8)), np.random.default_rng(0))


def test_at_scale_1_a_crop_is_a_part_of_the_image() -> None:
    pixels = noise()
    for seed in range(20):
        view = draw_view(SIZE, None, plain((40, 60)), np.random.default_rng(seed))
        assert_equal(crop_of(pixels, plain((40, 60)), seed), part(pixels, view.window))
    assert_equal(crop_of(pixels, plain(SIZE), 0), pixels)


def test_a_crop_moves_with_the_image_by_whole_pixels() -> None:
    for scale in (0.6, 1.0, 1.9):
        view = draw_view(SIZE, (70, 45), plain((30, 30), scale), np.random.default_rng(0))
        moved = of_both(lambda array: np.roll(array, (3, -5), (0, 1)), noise())
        window = view.window._replace(top=view.window.top + 3, left=view.window.left - 5)
        here = apply_view(part(noise(), view.window), view, plain((30, 30), scale), np.random.default_rng(0))
        there = replace(view, window=window)
        assert_equal(apply_view(part(moved, window), there, plain((30, 30), scale), np.random.default_rng(0)), here)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_crop_is_that_of_the_scaled_image_but_for_its_edge(scale: float) -> None:
    """As published: the whole image is scaled, then cropped. Here the interpolation ends with the window."""
    pixels, augmentation = noise(), plain((30, 40), scale)
    size = (int(SIZE[1] * scale), int(SIZE[0] * scale))
    scaled = Pixels(
        cv2.resize(pixels.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR),
        cv2.resize(pixels.label, size, interpolation=cv2.INTER_NEAREST_EXACT),
    )
    for seed in range(20):
        window = draw_view(SIZE, None, augmentation, np.random.default_rng(seed)).window
        top, left = int(window.top // 2 * 2 * scale), int(window.left // 2 * 2 * scale)
        window = window._replace(top=window.top // 2 * 2, left=window.left // 2 * 2)
        view = View((30, 40), window, Window(0, 0, 30, 40), False, None)
        found = apply_view(part(pixels, window), view, augmentation, np.random.default_rng(seed))
        expected = part(scaled, Window(top, left, 30, 40))
        np.testing.assert_array_equal(found.label, expected.label)
        np.testing.assert_array_equal(found.image[1:-1, 1:-1], expected.image[1:-1, 1:-1])


@pytest.mark.parametrize("scale", [1.0, 1.6])
def test_a_rotated_crop_needs_no_more_than_its_window(scale: float) -> None:
    """Within a level: OpenCV interpolates in single precision, from coordinates of other size."""
    pixels, augmentation = noise(), plain((30, 40), scale, rotation=180)
    for seed in range(20):
        view = draw_view(SIZE, None, augmentation, np.random.default_rng(seed))
        assert view.rotated is not None
        of_image = view.rotated + np.array(((0, 0, view.window.left), (0, 0, view.window.top)))
        whole = replace(view, window=Window(0, 0, *SIZE), rotated=of_image)
        expected = apply_view(pixels, whole, augmentation, np.random.default_rng(seed))
        found = apply_view(part(pixels, view.window), view, augmentation, np.random.default_rng(seed))
        np.testing.assert_array_equal(found.label, expected.label)
        np.testing.assert_allclose(found.image.astype(int), expected.image, rtol=0, atol=1)


@pytest.mark.parametrize("rotation", [0.0, 30.0])
@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("crop", [(40, 60), (250, 300)])
def test_labels_stay_with_their_colours(crop: tuple[int, int], scale: float, rotation: float) -> None:
    """But for pixels along edges between boxes, whose colours mix."""
    for seed in range(5):
        image, label, *_ = crop_of(boxes(), plain(crop, scale, rotation=rotation, flip=True), seed)
        shown = label != 255
        np.testing.assert_array_equal(image[~shown], np.broadcast_to(MEAN_COLOUR, image[~shown].shape))
        within = cv2.erode(label, np.ones((5, 5))) == cv2.dilate(label, np.ones((5, 5)))
        within[[0, 1, -2, -1]] = within[:, [0, 1, -2, -1]] = False  # what is beyond may mix into these
        within &= shown
        assert within.sum() > 0.1 * shown.sum()
        np.testing.assert_array_equal(image[within], PALETTE[label[within]])
        distance = np.abs(image[shown][:, None].astype(int) - PALETTE).sum(-1)
        nearest = distance[np.arange(len(distance)), label[shown]] == distance.min(1)
        assert nearest.mean() > 0.9


def test_a_rotation_goes_around_the_point_either_way() -> None:
    pixels = boxes()
    angles = []
    for seed in range(40):
        view = draw_view(SIZE, (70, 45), plain((30, 30), rotation=30), np.random.default_rng(seed))
        assert view.rotated is not None
        angles.append(np.degrees(np.arctan2(view.rotated[0, 1], view.rotated[0, 0])))
        to_crop = np.linalg.inv(np.vstack((view.rotated, (0, 0, 1))))
        x, y, _ = to_crop @ (70 - view.window.left, 45 - view.window.top, 1)
        assert np.allclose((x, y), np.rint((x, y)), atol=1e-6)
        crop = apply_view(part(pixels, view.window), view, plain((30, 30)), np.random.default_rng(0))
        assert crop.label[round(y), round(x)] == pixels.label[45, 70]
    assert -30 <= min(angles) < -15
    assert 15 < max(angles) <= 30


@pytest.mark.parametrize("crop", [(30, 40), (200, 300)])
@pytest.mark.parametrize("scale", [1.0, 1.3, 2.0])
def test_hardly_any_rotation_shows_what_none_does(crop: tuple[int, int], scale: float) -> None:
    for seed in range(5):
        still, turned = (crop_of(noise(), plain(crop, scale, rotation=rotation), seed) for rotation in (0, 1e-9))
        assert np.mean(turned.label == still.label) > 0.95  # halfway between two pixels, either is nearest
        assert np.abs(turned.image.astype(int) - still.image).mean() < 3  # of noise


def test_half_a_turn_is_exact() -> None:
    view = draw_view((31, 31), None, plain((31, 31), rotation=180), np.random.default_rng(0))
    turned = replace(view, rotated=np.array([[-1.0, 0, 30], [0, -1.0, 30]]), window=Window(0, 0, 31, 31))
    found = apply_view(noise((31, 31)), turned, plain((31, 31)), np.random.default_rng(0))
    assert_equal(found, of_both(lambda array: array[::-1, ::-1], noise((31, 31))))


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
def test_a_mirrored_crop_is_the_crop_mirrored(scale: float) -> None:
    augmentation = plain((150, 60), scale)
    view = draw_view(SIZE, None, augmentation, np.random.default_rng(2))
    pixels = part(noise(), view.window)
    plain_crop, mirrored = (
        apply_view(pixels, replace(view, mirrored=value), augmentation, np.random.default_rng(0))
        for value in (False, True)
    )
    assert_equal(of_both(lambda array: array[:, ::-1], mirrored), plain_crop)
    assert not np.array_equal(mirrored.image, plain_crop.image)


def test_every_other_crop_is_mirrored_where_that_is_asked_for() -> None:
    def share(flip: bool) -> float:
        views = [draw_view(SIZE, None, plain((8, 8), flip=flip), np.random.default_rng(i)) for i in range(400)]
        return float(np.mean([view.mirrored for view in views]))

    assert 0.4 < share(True) < 0.6
    assert share(False) == 0


def test_a_crop_larger_than_the_image_is_padded_anywhere() -> None:
    pixels, places = noise((20, 30)), set()
    for seed in range(40):
        image, label, *_ = crop_of(pixels, plain((24, 33), colour=0, blur=False), seed)
        top, left = (int(np.flatnonzero((label != 255).any(axis))[0]) for axis in (1, 0))
        places.add((top, left))
        assert (label != 255).sum() == 20 * 30
        shown = Window(top, left, 20, 30)
        assert_equal(part(Pixels(image, label), shown), pixels)
        assert (image[label == 255] == MEAN_COLOUR).all()
    assert {top for top, _ in places} == set(range(5))
    assert {left for _, left in places} == set(range(4))


def test_padding_keeps_the_mean_colour_whatever_happens_to_colours() -> None:
    for rotation in (0, 45):
        image, label, *_ = crop_of(noise((20, 30)), plain((60, 60), colour=1.0, blur=True, rotation=rotation), 4)
        assert (image[label == 255] == MEAN_COLOUR).all()


def test_scales_are_drawn_evenly_between_both_ends() -> None:
    augmentation = Augmentation(crop=(50, 50), scale=(0.5, 2.0))
    lengths = [draw_view((400, 400), None, augmentation, np.random.default_rng(i)).window.height for i in range(500)]
    assert min(lengths) in (25, 26)
    assert max(lengths) in (98, 99, 100)
    assert np.mean(np.array(lengths) < 50) == pytest.approx(2 / 3, abs=0.06)  # scales above 1


def test_shrinking_averages_over_areas() -> None:
    checked = np.indices(SIZE).sum(0) % 2 * np.uint8(200)
    pixels = Pixels(np.repeat(checked[..., None], 3, 2).astype(np.uint8), np.zeros(SIZE, np.uint8))
    for rotation in (0, 30):
        image, label, *_ = crop_of(pixels, plain((30, 40), 0.5, rotation=rotation), 1)
        assert np.abs(image[label == 0].astype(int) - 100).max() <= 2


def test_a_view_and_its_crop_follow_from_the_generator() -> None:
    augmentation = Augmentation(crop=(40, 60), rotation=10)
    first, again, other = (crop_of(noise(), augmentation, seed, (70, 45)) for seed in (5, 5, 6))
    assert_equal(first, again)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize(
    ("settings", "checksum", "drawn_next"),
    [
        ({"colour": 0, "blur": False}, 2241695934, 6.3528288683560525),
        ({"blur": False}, 4003750311, 6.3528288683560525),
        ({"colour": 0}, 1583742945, 4.608565135424861),
        ({"colour": 0.5, "rotation": 10.0}, 1085969063, 4.608565135424861),
        ({"colour": 0, "blur": False, "rotation": 30.0}, 1616278078, 6.3528288683560525),
    ],
)
def test_crops_are_what_they_were_before_there_were_neighbours(
    settings: dict[str, object], checksum: int, drawn_next: float
) -> None:
    """Taken from the code as it was then, with OpenCV 5.0; what is drawn next counts the draws and their order."""
    augmentation = Augmentation(crop=(40, 60), **settings)  # type: ignore[arg-type]
    found, drawn = 0, []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        view = draw_view(SIZE, (70, 45) if seed % 2 else None, augmentation, generator)
        crop = apply_view(part(noise(), view.window), view, augmentation, generator)
        assert crop.neighbours == ()
        found = zlib.crc32(crop.label.tobytes(), zlib.crc32(crop.image.tobytes(), found))
        drawn.append(generator.random())
    assert np.sum(drawn) == drawn_next
    assert found == checksum


@pytest.mark.parametrize(("scale", "length"), [(0.9, 9), (0.94, 9), (0.96, 10), (1.04, 10), (0.01, 1)])
def test_a_small_image_is_scaled_to_the_nearest_number_of_pixels(scale: float, length: int) -> None:
    view = draw_view((10, 10), None, plain((40, 40), scale), np.random.default_rng(0))
    assert view.window == Window(0, 0, 10, 10)
    assert (view.inside.height, view.inside.width) == (length, length)
