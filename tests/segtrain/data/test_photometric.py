"""Colours and blurs drawn at random: how far they go, and what they leave."""

import numpy as np
import pytest
from helpers.crops import noise

from segtrain.data.photometric import blur, draw_blur, draw_colours


def jitter_colours(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    [changed] = draw_colours(strength, generator).apply([image])
    return changed


def blur_at_random(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    sigma = draw_blur(generator)
    return image if sigma is None else blur(image, sigma)


def test_no_jitter_leaves_every_bit() -> None:
    image = noise().image
    np.testing.assert_array_equal(jitter_colours(image, 0, np.random.default_rng(0)), image)


def test_jitter_moves_each_property_within_its_range() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    levels = [int(jitter_colours(grey, 0.25, np.random.default_rng(i))[0, 0, 0]) for i in range(300)]
    assert 75 <= min(levels) < 80 < 120 < max(levels) <= 125  # a grey image has no contrast, no saturation, no hue
    red = np.full((8, 8, 3), (200, 0, 0), np.uint8)
    colours = np.array([jitter_colours(red, 0.25, np.random.default_rng(i))[0, 0] for i in range(300)])
    assert (colours.argmax(1) == 1).any()  # towards green, a quarter of the circle away
    assert (colours.argmax(1) == 2).any()
    half = np.full((8, 8, 3), 50, np.uint8)
    half[:, 4:] = 150
    contrasts = [np.ptp(jitter_colours(half, 0.25, np.random.default_rng(i)).astype(int)) for i in range(300)]
    assert min(contrasts) < 0.75 * 100 < 1.25 * 100 < max(contrasts) <= 1.25 * 1.25 * 100 + 1


def test_every_other_crop_is_blurred() -> None:
    image = noise().image
    changed = [not np.array_equal(blur_at_random(image, np.random.default_rng(i)), image) for i in range(200)]
    assert 0.25 < np.mean(changed) < 0.55  # the weakest blurs change no level
    flat = np.full((9, 9, 3), 77, np.uint8)
    assert all((blur_at_random(flat, np.random.default_rng(i)) == 77).all() for i in range(20))


def test_half_of_all_crops_are_blurred_by_any_width_of_the_range() -> None:
    widths = [draw_blur(np.random.default_rng(i)) for i in range(2000)]
    drawn = [width for width in widths if width is not None]
    assert len(drawn) / len(widths) == pytest.approx(0.5, abs=0.03)
    assert 0.15 <= min(drawn) < 0.16
    assert 1.29 < max(drawn) <= 1.3
