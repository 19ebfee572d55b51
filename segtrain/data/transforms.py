"""From an image and its label map to a crop of both, by one geometry: scaled, rotated, mirrored, its colours changed.

The neighbours of a sample show the very same view.

A view is drawn first, from the image's size alone: a rectangle of whole pixels of the image, and how it becomes the
crop. So only that rectangle is read, and nothing depends on the pixels around it. Of a crop cut out of the scaled
image, as published, it differs by the interpolation along the crop's own edge, by less than a pixel.

Reference: Zhu et al., CVPR 2019, section 4. Two things differ: a crop around a centroid always holds it (the published
one can end a pixel before it), and a crop larger than the image has it anywhere, not always in its middle.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID
from segtrain.data.dataset import PairMotion, Pixels, Window
from segtrain.data.photometric import blur, draw_blur, draw_colours
from segtrain.models.preprocessing import MEAN

MEAN_COLOUR = tuple(round(255 * level) for level in MEAN)  # where there is no image


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to the crops of a training.

    crop: their height and width in pixels. scale: the ends between which the image's scale is drawn evenly; one of 2
    makes it twice as large. flip: whether every other crop is mirrored. colour: how far brightness, contrast,
    saturation and hue change at most (`draw_colours`), 0…1. blur: whether every other crop is blurred. rotation: the
    most by which a crop is rotated either way, in degrees. All frames of a sample change alike.

    Raises: ValueError for what lies outside its range.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    colour: float = 0.25
    blur: bool = True
    rotation: float = 0.0

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise ValueError(f"crop must have 1 pixel or more in height and width, found {self.crop}")
        if not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise ValueError(f"scale must be two ends above 0, the lower first, found {self.scale}")
        if not 0 <= self.colour <= 1:
            raise ValueError(f"colour must be within 0…1, found {self.colour}")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation must be within 0…180 degrees, found {self.rotation}")


@dataclass(frozen=True, eq=False)
class View:
    """What a crop of size `crop` (H, W) shows of an image.

    window: the part of the image that it needs. inside: the part of the crop that it fills, before mirroring.
    rotated: [2,3] the pixel of the window (x, y) that each pixel of the crop (x, y, 1) shows; None where the window is
    only scaled to what it fills. With rotation the crop is filled wherever that pixel lies in the window.
    """

    crop: tuple[int, int]
    window: Window
    inside: Window
    mirrored: bool
    rotated: np.ndarray | None


class _Span(NamedTuple):
    """Along one axis: pixels of the image, and the pixels of the crop that they fill."""

    start: int
    length: int
    inside: int
    inside_length: int

    def to_image(self) -> np.ndarray:
        """[2] scale and offset: from the crop's pixels to the image's. Centres of pixels are whole numbers."""
        step = self.length / self.inside_length
        return np.array((step, self.start - 0.5 - (self.inside - 0.5) * step))


def draw_view(
    size: tuple[int, int], point: tuple[int, int] | None, augmentation: Augmentation, generator: np.random.Generator
) -> View:
    """A view of an image of size (H, W) that holds the pixel `point` (x, y), or lies anywhere.

    The crop lies within the image where that is large enough; a smaller image lies anywhere in the crop. A rotation
    goes around the point, or around the middle of what the crop shows, and may show what lies beyond the image.

    Raises: ValueError for a point outside the image.
    """
    if point is not None and not (0 <= point[0] < size[1] and 0 <= point[1] < size[0]):
        raise ValueError(f"the point (x, y) = {point} lies outside an image of {size[0]}x{size[1]} pixels")
    scale = generator.uniform(*augmentation.scale)
    x, y = point or (None, None)
    rows = _draw_span(size[0], augmentation.crop[0], scale, y, generator)
    columns = _draw_span(size[1], augmentation.crop[1], scale, x, generator)
    mirrored = generator.random() < 0.5 and augmentation.flip
    angle = generator.uniform(-1, 1) * augmentation.rotation
    window = Window(rows.start, columns.start, rows.length, columns.length)
    if not angle:
        inside = Window(rows.inside, columns.inside, rows.inside_length, columns.inside_length)
        return View(augmentation.crop, window, inside, mirrored, None)
    pivot = point or (window.left + (window.width - 1) / 2, window.top + (window.height - 1) / 2)
    rotated = _rotation(pivot, angle) @ _stack(columns.to_image(), rows.to_image())
    window = _window_under(augmentation.crop, rotated, size)
    rotated[:2, 2] -= window.left, window.top
    return View(augmentation.crop, window, Window(0, 0, *augmentation.crop), mirrored, rotated[:2])


def apply_view(pixels: Pixels, view: View, augmentation: Augmentation, generator: np.random.Generator) -> Pixels:
    """The window's pixels -> the crop: frames [H,W,3] uint8 RGB, label [H,W] uint8 train ids.

    Frames are interpolated bilinearly, and averaged over areas where they shrink; the label map takes the nearest
    pixel, and what it weighs. Where there is no image they have ImageNet's mean colour, the label map 255, and weights
    go on as at the border. Motions are interpolated
    like frames, and turn and stretch with them. Where there are neighbours, it is told what shows the image.

    Raises: ValueError for pixels that are not of the window's size.
    """
    _require_size_of_window(pixels, view.window)
    height, width = view.inside.height, view.inside.width
    if view.rotated is None:
        frames = [_scale(frame, (height, width)) for frame in pixels.frames]
        label = cv2.resize(pixels.label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    else:
        frames = [_rotate(frame, view.rotated, (height, width)) for frame in pixels.frames]
        label = _rotate_label(pixels.label, view.rotated, (height, width))
    frames = _recolour(frames, augmentation, generator)
    if view.rotated is not None:
        outside = _outside(view.rotated, view.window, view.crop)
        for frame in frames:
            frame[outside] = MEAN_COLOUR
    label = _pad(label, view, (IGNORE_TRAIN_ID,))
    frames = [_pad(frame, view, MEAN_COLOUR) for frame in frames]
    if view.mirrored:
        label, *frames = (cv2.flip(array, 1) for array in (label, *frames))
    image, *neighbours = frames
    weight = None if pixels.weight is None else _apply_to_weight(pixels.weight, view)
    if not neighbours:
        return Pixels(image, label, weight=weight)
    motions = tuple(_move(motion, view) for motion in pixels.motions)
    shown = _apply_to_mask(np.ones(view.window[2:], bool), view)
    return Pixels(image, label, tuple(neighbours), motions, shown, weight)


def _move(motion: PairMotion, view: View) -> PairMotion:
    """A motion of the window's pixels -> that of the crop's, in its pixels."""
    size = view.inside.height, view.inside.width
    if view.rotated is None:
        to_crop = np.diag((size[1] / view.window.width, size[0] / view.window.height))
        flow = _scale(motion.flow, size)
    else:
        to_crop = np.linalg.inv(view.rotated[:, :2])
        flow = _rotate(motion.flow, view.rotated, size)
    flow = _pad((flow @ to_crop.T).astype(np.float32), view, (0, 0))
    if view.mirrored:
        flow = cv2.flip(flow, 1) * np.array((-1, 1), np.float32)
    return PairMotion(flow, _apply_to_mask(motion.is_seen, view))


def _apply_to_mask(mask: np.ndarray, view: View) -> np.ndarray:
    """[h,w] bool of the window -> [H,W] bool of the crop: the nearest pixel; False outside."""
    height, width = view.inside.height, view.inside.width
    values: np.ndarray = mask.astype(np.uint8)
    if view.rotated is None:
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    else:
        values = _warp(values, view.rotated, (height, width), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, 0)
    values = _pad(values, view, (0,))
    return (cv2.flip(values, 1) if view.mirrored else values) == 1


def _apply_to_weight(weight: np.ndarray, view: View) -> np.ndarray:
    """[h,w] float32 of the window -> [H,W] of the crop: the pixel that the label map takes; outside, the nearest."""
    inside = view.inside
    if view.rotated is None:
        weight = cv2.resize(weight, (inside.width, inside.height), interpolation=cv2.INTER_NEAREST_EXACT)
        weight = _pad(weight, view, ())
    else:
        weight = _warp(weight, view.rotated, view.crop, cv2.INTER_NEAREST, cv2.BORDER_REPLICATE, 0)
    return cv2.flip(weight, 1) if view.mirrored else weight


def _require_size_of_window(pixels: Pixels, window: Window) -> None:
    size = (window.height, window.width)
    others = [motion.flow for motion in pixels.motions]
    if pixels.weight is not None:
        others.append(pixels.weight)
    if any(array.shape[:2] != size for array in (*pixels.frames, pixels.label, *others)):
        images = ", ".join(str(list(frame.shape)) for frame in pixels.frames)
        raise ValueError(
            f"frames {images} and label map {list(pixels.label.shape)} for a window of "
            f"{window.height}x{window.width}; read both with that window"
        )


def _recolour(frames: list[np.ndarray], augmentation: Augmentation, generator: np.random.Generator) -> list[np.ndarray]:
    """One change of colours, and one blur or none, for all of the frames [H,W,3] uint8 RGB."""
    frames = draw_colours(augmentation.colour, generator).apply(frames)
    sigma = draw_blur(generator) if augmentation.blur else None
    return frames if sigma is None else [blur(frame, sigma) for frame in frames]


def _draw_span(length: int, crop: int, scale: float, point: int | None, generator: np.random.Generator) -> _Span:
    """Where a crop lies along an axis of `length` pixels, with `point` in it; all places are equally likely."""
    scaled = max(1, round(length * scale))
    if scaled <= crop:
        return _Span(0, length, int(generator.integers(crop - scaled + 1)), scaled)
    needed = min(length, max(1, round(crop / scale)))
    first, last = 0, length - needed
    if point is not None:
        first, last = max(first, point - needed + 1), min(last, point)
    return _Span(int(generator.integers(first, last + 1)), needed, 0, crop)


def _stack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[3,3] of a scale and an offset [2] along each axis."""
    return np.array(((x[0], 0, x[1]), (0, y[0], y[1]), (0, 0, 1)))


def _rotation(pivot: tuple[float, float], degrees: float) -> np.ndarray:
    """[3,3]: counter-clockwise as seen, around a point (x, y)."""
    return np.vstack((cv2.getRotationMatrix2D(pivot, degrees, 1), (0, 0, 1)))


def _window_under(crop: tuple[int, int], to_image: np.ndarray, size: tuple[int, int]) -> Window:
    """The part of an image of size (H, W) that a rotated crop shows, and what its interpolation needs around that."""
    corners = [(x, y, 1) for x in (0, crop[1] - 1) for y in (0, crop[0] - 1)]
    x, y = to_image[:2] @ np.transpose(corners)
    margin = 1 + np.hypot(*to_image[:2, 0])  # a pixel of the image, and one of the crop
    left, top = (max(0, int(np.floor(ends.min() - margin))) for ends in (x, y))
    right, bottom = (
        min(length, int(np.ceil(ends.max() + margin)) + 1) for ends, length in ((x, size[1]), (y, size[0]))
    )
    return Window(top, left, bottom - top, right - left)


def _scale(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h,w,…] -> (H, W): bilinear, or the mean over areas where it shrinks."""
    shrinks = image.shape[0] > size[0] or image.shape[1] > size[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _rotate(image: np.ndarray, to_window: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h,w,…] -> (H, W); outside, the image goes on as at its border.

    An image that shrinks is made smaller before it is rotated, or it would be sampled too far apart.
    """
    step = max(1.0, float(np.hypot(*to_window[:, 0])))
    height, width = image.shape[:2]
    shrunk = _scale(image, (max(1, round(height / step)), max(1, round(width / step))))
    ratio = np.array((shrunk.shape[1] / width, shrunk.shape[0] / height))
    to_shrunk = to_window * ratio[:, None]
    to_shrunk[:, 2] += (ratio - 1) / 2  # centres of pixels are whole numbers
    return _warp(shrunk, to_shrunk, size, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE, 0)


def _rotate_label(label: np.ndarray, to_window: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h,w] uint8 -> (H, W); 255 outside."""
    return _warp(label, to_window, size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, IGNORE_TRAIN_ID)


def _outside(to_window: np.ndarray, window: Window, crop: tuple[int, int]) -> np.ndarray:
    """[H,W] bool: which pixels of a rotated crop show nothing of the window."""
    everywhere = np.ones((window.height, window.width), np.uint8)
    return _warp(everywhere, to_window, crop, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, 0) == 0


def _warp(
    image: np.ndarray, to_image: np.ndarray, size: tuple[int, int], interpolation: int, border: int, value: int
) -> np.ndarray:
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, to_image, size[::-1], flags=flags, borderMode=border, borderValue=value)


def _pad(array: np.ndarray, view: View, value: tuple[int, ...]) -> np.ndarray:
    """What is inside the crop -> all of the crop; without a value, it goes on as at its border."""
    (height, width), inside = view.crop, view.inside
    bottom, right = height - inside.top - inside.height, width - inside.left - inside.width
    if array.shape[:2] == view.crop:
        return array
    border = cv2.BORDER_CONSTANT if value else cv2.BORDER_REPLICATE
    return cv2.copyMakeBorder(array, inside.top, bottom, inside.left, right, border, value=value)
