"""Crops of samples of several frames: each frame shows the view of the image, in colours of its own or in the same."""

import cv2
import numpy as np
import pytest
from helpers.crops import SIZE, assert_equal, crop_of, noise, part, plain

from segtrain.data.dataset import Pixels
from segtrain.data.photometric import draw_colours
from segtrain.data.transforms import Augmentation, apply_view, draw_view


def with_neighbours(pixels: Pixels) -> Pixels:
    """The image once more, another one, and one that shares its left half."""
    other = np.random.default_rng(9).integers(0, 256, pixels.image.shape, np.uint8)
    half = pixels.image.copy()
    half[:, SIZE[1] // 2 :] = 255
    return pixels._replace(neighbours=(pixels.image.copy(), other, half))


@pytest.mark.parametrize("rotation", [0.0, 20.0])
@pytest.mark.parametrize("crop", [(40, 60), (250, 300)])
def test_equal_frames_stay_equal_whatever_is_drawn(crop: tuple[int, int], rotation: float) -> None:
    augmentation = Augmentation(crop=crop, colour=0.5, rotation=rotation)
    for seed in range(12):
        found = crop_of(with_neighbours(noise()), augmentation, seed, (70, 45))
        np.testing.assert_array_equal(found.neighbours[0], found.image)
        assert not np.array_equal(found.neighbours[1], found.image)
        alone = crop_of(noise(), augmentation, seed, (70, 45))
        assert_equal(found._replace(neighbours=()), alone)


@pytest.mark.parametrize("rotation", [0.0, 20.0])
def test_neighbours_show_the_view_of_the_image(rotation: float) -> None:
    """A frame that tells each pixel's place, mirrored along with the crop, tells which pixels a neighbour shows."""
    y, x = np.indices(SIZE).astype(np.uint8)
    places = np.stack((x, y, np.full_like(x, 200)), -1)
    pixels = noise()._replace(neighbours=(places,))
    for seed in range(12):
        augmentation = Augmentation(crop=(60, 60), scale=(0.9, 2.0), colour=0, blur=False, rotation=rotation)
        found = crop_of(pixels, augmentation, seed)
        [neighbour] = found.neighbours
        assert_equal(Pixels(neighbour, found.label), crop_of(Pixels(places, pixels.label), augmentation, seed))
        shown = (found.label != 255) & (neighbour[..., 2] == 200)
        inner = cv2.erode(shown.astype(np.uint8), np.ones((5, 5))) == 1
        x_shown, y_shown = neighbour[inner].astype(int).T[:2]
        near = [
            pixels.label[np.clip(y_shown + dy, 0, SIZE[0] - 1), np.clip(x_shown + dx, 0, SIZE[1] - 1)]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        assert inner.sum() > 500
        assert (found.label[inner] == near).any(0).all()


def test_pixels_that_are_equal_in_two_frames_stay_equal() -> None:
    """Though the frames differ in their mean grey, around which a contrast changes."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        pixels = with_neighbours(noise())
        image, *_, half = draw_colours(0.5, generator).apply(pixels.frames)
        left = slice(0, SIZE[1] // 2)
        np.testing.assert_array_equal(half[:, left], image[:, left])
        assert not np.array_equal(half, image)


@pytest.mark.parametrize("rotation", [0.0, 20.0])
def test_each_frame_is_what_it_would_be_alone_of_the_same_view(rotation: float) -> None:
    augmentation = Augmentation(crop=(40, 60), rotation=rotation, colour=0, blur=False)
    for seed in range(12):
        pixels = with_neighbours(noise())
        found = crop_of(pixels, augmentation, seed)
        generator = np.random.default_rng(seed)
        view = draw_view(SIZE, None, augmentation, generator)
        for frame, shown in zip(pixels.frames, found.frames, strict=True):
            alone = apply_view(part(Pixels(frame, pixels.label), view.window), view, augmentation, generator)
            assert_equal(Pixels(shown, found.label), alone)
        assert not np.array_equal(found.neighbours[1], found.image)


def test_a_neighbour_of_another_size_is_refused() -> None:
    pixels = noise()._replace(neighbours=(noise((90, 141)).image,))
    view = draw_view(SIZE, None, plain(SIZE), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"frames \[90, 140, 3\], \[90, 141, 3\] and .* for a window of 90x140"):
        apply_view(pixels, view, plain(SIZE), np.random.default_rng(0))
