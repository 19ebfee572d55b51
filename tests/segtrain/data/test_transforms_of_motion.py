"""Motion under a random view: it is that of the crops, in their pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.crops import SIZE, noise

from propagate.datasets.base import DatasetOptions
from sdcnet.motion.registry import MotionSettings, open_estimator
from segtrain.data.dataset import PairMotion, Pixels
from segtrain.data.flow_cache import seen_flow
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.transforms import Augmentation, View, apply_view, draw_view

LINEAR = np.array(((0.02, -0.05), (0.04, 0.03)))  # flow = (x, y) LINEAR + SHIFT: interpolated without an error
SHIFT = np.array((3.0, -2.0))


def places(size: tuple[int, int]) -> np.ndarray:
    y, x = np.indices(size)
    return np.stack((x, y), -1).astype(np.float64)


def to_image(points: np.ndarray, view: View) -> np.ndarray:
    """Pixels of a crop (x, y) -> those of the image that they show."""
    if view.mirrored:
        points = np.stack((view.crop[1] - 1 - points[..., 0], points[..., 1]), -1)
    if view.rotated is not None:
        return points @ view.rotated[:, :2].T + view.rotated[:, 2] + (view.window.left, view.window.top)
    step = np.array((view.window.width / view.inside.width, view.window.height / view.inside.height))
    begin = np.array((view.inside.left, view.inside.top))
    return (points - begin + 0.5) * step - 0.5 + (view.window.left, view.window.top)


def moved(seed: int, augmentation: Augmentation, is_seen: np.ndarray | None = None) -> tuple[View, Pixels]:
    """A view of an image with a motion that is linear in its pixels."""
    generator = np.random.default_rng(seed)
    view = draw_view(SIZE, None, augmentation, generator)
    part = view.window.slices
    flow = (places(SIZE) @ LINEAR + SHIFT).astype(np.float32)
    motion = PairMotion(flow[part], (np.ones(SIZE, bool) if is_seen is None else is_seen)[part])
    image, label, *_ = noise()
    pixels = Pixels(image[part], label[part], (image[part],), (motion,))
    return view, apply_view(pixels, view, augmentation, generator)


@pytest.mark.parametrize("rotation", [0.0, 25.0])
@pytest.mark.parametrize("crop", [(40, 60), (250, 300)])
def test_it_leads_to_what_the_motion_leads_to_in_the_image(crop: tuple[int, int], rotation: float) -> None:
    for seed in range(12):
        view, found = moved(seed, Augmentation(crop=crop, rotation=rotation))
        assert found.shown is not None
        [motion] = found.motions
        inner = cv2.erode(found.shown.astype(np.uint8), np.ones((9, 9)), borderValue=0) == 1
        begin = places(crop)
        source = to_image(begin, view)
        expected = source + source @ LINEAR + SHIFT
        np.testing.assert_allclose(to_image(begin + motion.flow, view)[inner], expected[inner], atol=0.02)
        np.testing.assert_array_equal(motion.is_seen, found.shown)
        assert (found.label[~found.shown] == 255).all()


@pytest.mark.parametrize("rotation", [0.0, 25.0])
def test_what_is_hidden_is_hidden_in_the_crop(rotation: float) -> None:
    hidden = np.zeros(SIZE, bool)
    hidden[:, SIZE[1] // 2 :] = True
    for seed in range(6):
        view, found = moved(seed, Augmentation(crop=(60, 60), rotation=rotation), ~hidden)
        assert found.shown is not None
        x = to_image(places(view.crop), view)[..., 0]
        is_clear = found.shown & (abs(x - SIZE[1] / 2) > 2)
        np.testing.assert_array_equal(found.motions[0].is_seen[is_clear], (x < SIZE[1] / 2)[is_clear])


def test_it_is_the_motion_that_is_found_in_the_augmented_frames(street: Path) -> None:
    """Of dense inverse search, before and after; what differs is what it finds, not where that lies."""
    dataset = open_labelled_frames("cityscapes", DatasetOptions(root=street), offsets=(1,))
    pixels, estimator = dataset.read(0), open_estimator(MotionSettings())
    known = PairMotion(*estimated(pixels, estimator))
    errors, lengths = [], []
    for seed in range(4):
        generator = np.random.default_rng(seed)
        augmentation = Augmentation(crop=(96, 160), scale=(0.8, 1.5), colour=0, blur=False, rotation=10)
        view = draw_view(known.is_seen.shape, None, augmentation, generator)  # type: ignore[arg-type]
        part = view.window.slices
        frames = [frame[part] for frame in pixels.frames]
        seen = Pixels(frames[0], pixels.label[part], (frames[1],), (PairMotion(known.flow[part], known.is_seen[part]),))
        found = apply_view(seen, view, augmentation, generator)
        anew, is_seen = estimated(found, estimator)
        [motion] = found.motions
        both = motion.is_seen & is_seen
        errors.append(np.linalg.norm(motion.flow - anew, axis=-1)[both])
        lengths.append(np.linalg.norm(anew, axis=-1)[both])
    assert np.median(np.concatenate(lengths)) > 0.5
    assert np.median(np.concatenate(errors)) < 0.2


def estimated(pixels: Pixels, estimator: object) -> tuple[np.ndarray, np.ndarray]:
    image, neighbour = (torch.from_numpy(frame).permute(2, 0, 1)[None] for frame in pixels.frames)
    flow, seen = seen_flow(image, neighbour, estimator)  # type: ignore[arg-type]
    return flow[0].permute(1, 2, 0).numpy(), seen[0, 0].numpy()
