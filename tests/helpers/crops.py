"""Images of noise and of boxes, and crops of them."""

from collections.abc import Callable

import numpy as np

from segtrain.data.dataset import Pixels, Window
from segtrain.data.transforms import Augmentation, apply_view, draw_view

SIZE = (90, 140)
PALETTE = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255)], np.uint8)


def plain(crop: tuple[int, int], scale: float = 1.0, **settings: object) -> Augmentation:
    """No change but these."""
    fixed: dict[str, object] = {"scale": (scale, scale), "flip": False, "colour": 0, "blur": False}
    return Augmentation(crop=crop, **{**fixed, **settings})  # type: ignore[arg-type]


def boxes(size: tuple[int, int] = SIZE) -> Pixels:
    """Boxes of 20x20 pixels whose colours tell their labels."""
    rows, columns = -(-size[0] // 20), -(-size[1] // 20)
    label = np.random.default_rng(0).integers(len(PALETTE), size=(rows, columns)).astype(np.uint8)
    label = label.repeat(20, 0).repeat(20, 1)[: size[0], : size[1]]
    return Pixels(PALETTE[label], label)


def noise(size: tuple[int, int] = SIZE) -> Pixels:
    random = np.random.default_rng(1)
    return Pixels(random.integers(0, 256, (*size, 3), np.uint8), random.integers(0, 19, size, np.uint8))


def of_both(change: Callable[[np.ndarray], np.ndarray], pixels: Pixels) -> Pixels:
    return Pixels(change(pixels.image), change(pixels.label))


def part(pixels: Pixels, window: Window) -> Pixels:
    """The window of all that there is."""
    image, *neighbours = (frame[window.slices] for frame in pixels.frames)
    weight = None if pixels.weight is None else pixels.weight[window.slices]
    return Pixels(image, pixels.label[window.slices], tuple(neighbours), weight=weight)


def crop_of(pixels: Pixels, augmentation: Augmentation, seed: int, point: tuple[int, int] | None = None) -> Pixels:
    generator = np.random.default_rng(seed)
    view = draw_view(pixels.label.shape, point, augmentation, generator)
    return apply_view(part(pixels, view.window), view, augmentation, generator)


def assert_equal(found: Pixels, expected: Pixels) -> None:
    for one, other in zip((found.label, *found.frames), (expected.label, *expected.frames), strict=True):
        np.testing.assert_array_equal(one, other)
