"""What pixels weigh goes with their labels, whatever a crop does to these."""

import numpy as np
import pytest
from helpers.crops import SIZE, crop_of, noise, part, plain

from segtrain.data.dataset import Pixels
from segtrain.data.transforms import Augmentation, apply_view, draw_view

NEIGHBOUR = noise().image


@pytest.mark.parametrize("neighbours", [(), (NEIGHBOUR,)], ids=["alone", "with a neighbour"])
@pytest.mark.parametrize("rotation", [0.0, 25.0])
@pytest.mark.parametrize("crop", [(40, 60), (250, 300)])
def test_weights_stay_with_their_labels(
    crop: tuple[int, int], rotation: float, neighbours: tuple[np.ndarray, ...]
) -> None:
    """Labels of noise, so that a pixel aside has another; where there is no image, weights are those at its border."""
    labels = noise().label
    pixels = Pixels(noise().image, labels, neighbours, weight=labels.astype(np.float32) / 32)
    for seed in range(12):
        augmentation = Augmentation(crop=crop, rotation=rotation)
        found = crop_of(pixels, augmentation, seed, (70, 45))
        assert found.weight is not None
        assert found.weight.dtype == np.float32
        assert found.weight.shape == crop
        shown = found.label != 255
        np.testing.assert_array_equal(found.weight[shown], found.label[shown] / np.float32(32))
        assert set(np.unique(found.weight * 32)) <= set(range(19))
        without = crop_of(pixels._replace(weight=None), augmentation, seed, (70, 45))
        np.testing.assert_array_equal(found.label, without.label)
        np.testing.assert_array_equal(found.image, without.image)
        assert without.weight is None


@pytest.mark.parametrize("rotation", [0.0, 25.0])
def test_weights_of_1_are_1_around_the_image_too(rotation: float) -> None:
    pixels = noise()._replace(weight=np.ones(SIZE, np.float32))
    found = crop_of(pixels, Augmentation(crop=(250, 300), rotation=rotation), 3)
    assert (found.label == 255).any()
    assert (found.weight == 1).all()


def test_weights_of_another_size_are_refused() -> None:
    pixels = noise()._replace(weight=np.ones((SIZE[0], SIZE[1] - 1), np.float32))
    view = draw_view(SIZE, None, plain((40, 60)), np.random.default_rng(0))
    pixels = part(pixels._replace(weight=None), view.window)._replace(weight=pixels.weight)
    with pytest.raises(ValueError, match="read both with that window"):
        apply_view(pixels, view, plain((40, 60)), np.random.default_rng(0))
