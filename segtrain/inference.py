"""From an image of any size to its classes: whole or window by window, at several scales, mirrored or not.

Where windows are used, memory follows from the window and the image's width: of the whole image there never is more
than its pixels and its labels.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise, product
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jobs.errors import NotFiniteError, TooLargeError
from jobs.training.runtime import Runtime
from segtrain.errors import InferenceError
from segtrain.inference_settings import Inference
from segtrain.models.preprocessing import normalised

# [B,3,H,W] as `preprocessing.normalised` gives them -> logits [B,C,H,W]; in evaluation mode, on the runtime's device.
Network = Callable[[Tensor], Tensor]


class Grid(NamedTuple):
    """Windows of one size (H, W), at every pair of a top and a left, which ascend; together they cover the image."""

    window: tuple[int, int]
    tops: list[int]
    lefts: list[int]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.tops[-1] + self.window[0], self.lefts[-1] + self.window[1]


class Block(NamedTuple):
    """A part of the image that no later window sees; probabilities: [C,h,w] float32."""

    top: int
    left: int
    probabilities: Tensor

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and its columns in the image."""
        height, width = self.probabilities.shape[1:]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def labels(self) -> np.ndarray:
        """[h,w] uint8: the most probable class of each pixel."""
        return self.probabilities.argmax(0).to(torch.uint8).cpu().numpy()


class Segmentation(NamedTuple):
    """labels: [H,W] uint8 train ids. confidence: [H,W] float32, the probability of each pixel's own label."""

    labels: np.ndarray
    confidence: np.ndarray


def segment(network: Network, image: np.ndarray, inference: Inference, runtime: Runtime) -> np.ndarray:
    """[H,W,3] uint8 RGB -> [H,W] uint8 train ids, the most probable class of each pixel.

    network: in evaluation mode, on the runtime's device, as `Runtime.prepare` leaves it; at most 255 classes.
    Raises: InferenceError: not enough memory, or scores that are not finite.
    """
    labels = np.empty(image.shape[:2], np.uint8)
    for block in probabilities(network, image, inference, runtime):
        labels[block.slices] = block.labels
    return labels


def segment_with_confidence(
    network: Network, image: np.ndarray, inference: Inference, runtime: Runtime
) -> Segmentation:
    """As `segment`, with the probability of what is found, which is averaged as the classes' probabilities are."""
    labels = np.empty(image.shape[:2], np.uint8)
    confidence = np.empty(image.shape[:2], np.float32)
    for block in probabilities(network, image, inference, runtime):
        labels[block.slices] = block.labels
        confidence[block.slices] = block.probabilities.amax(0).cpu().numpy()
    return Segmentation(labels, confidence)


def probabilities(network: Network, image: np.ndarray, inference: Inference, runtime: Runtime) -> Iterator[Block]:
    """As `segment`, the probability of every class, a block after another; together they cover the image."""
    grid = make_grid((image.shape[0], image.shape[1]), inference)
    return merge(grid, _windows(network, image, grid, inference, runtime))


def make_grid(size: tuple[int, int], inference: Inference) -> Grid:
    """The windows of an image of size (H, W), no larger than it, or one that is all of it."""
    most = inference.window or size
    window = min(most[0], size[0]), min(most[1], size[1])
    tops, lefts = (window_starts(*lengths, inference.overlap) for lengths in zip(size, window, strict=True))
    return Grid(window, tops, lefts)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along one axis: `starts_at_steps`, of as many pixels as the next window does not share."""
    return starts_at_steps(length, window, math.ceil(window * (1 - overlap)))


def starts_at_steps(length: int, window: int, step: int) -> list[int]:
    """Where windows begin along one axis: in equal steps, but for the last one, which ends with the image."""
    return [0] if length <= window else [*range(0, length - window, step), length - window]


def class_probabilities(network: Network, images: Tensor, scales: Iterable[float], flip: bool) -> Tensor:
    """[B,3,H,W] uint8 RGB -> [B,C,H,W] float32: the mean over scales, and mirror images, of the softmax."""
    pixels, size = normalised(images), images.shape[-2:]
    passes = list(product(scales, (False, True) if flip else (False,)))
    total: Tensor | None = None
    for scale, mirrored in passes:
        seen = _resized(pixels, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
        logits = network(seen.flip(-1)).flip(-1) if mirrored else network(seen)
        found = class_softmax(_resized(logits.float(), size))
        total = found if total is None else total.add_(found)
    if total is None:
        raise ValueError("expected one scale or more, found none")
    return total.div_(len(passes))


def merge(grid: Grid, windows: Iterable[Tensor]) -> Iterator[Block]:
    """The mean of all windows that see a pixel, a block at a time.

    windows: [C,h,w] float32 each, row by row, left to right; they are overwritten. Each block goes on as soon as no
    later window sees it; what is kept is one window, and of the image's whole width those rows that the next row of
    windows sees again.
    """
    windows, height = iter(windows), grid.window[0]
    num_rows, num_columns = (_coverage(starts, of) for starts, of in zip(grid[1:], grid.window, strict=True))
    most_kept = max((height - (after - top) for top, after in pairwise(grid.tops)), default=0)
    kept: Tensor | None = None  # [C,most_kept,W]
    num_kept = 0
    for top, after in pairwise((*grid.tops, grid.size[0])):
        done = after - top
        for left, sums in _summed_along_row(grid, islice(windows, len(grid.lefts))):
            if kept is None:
                kept = sums.new_empty(most_kept, grid.size[1], len(sums)).permute(2, 0, 1)  # as the windows lie
            columns = slice(left, left + sums.shape[2])
            sums[:, :num_kept] += kept[:, :num_kept, columns]
            kept[:, : height - done, columns] = sums[:, done:]
            count = torch.outer(num_rows[top:after], num_columns[columns]).to(sums.device)
            yield Block(top, left, sums[:, :done].div_(count))
        num_kept = height - done


def _summed_along_row(grid: Grid, windows: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Sums over the windows of one row: where a block of finished columns begins, and the block [C,h,w]."""
    rest: Tensor | None = None
    for (left, after), window in zip(pairwise((*grid.lefts, grid.size[1])), windows, strict=True):
        if rest is not None:
            window[..., : rest.shape[2]] += rest
        yield left, window[..., : after - left]
        rest = window[..., after - left :]


def _coverage(starts: Iterable[int], window: int) -> Tensor:
    """How many windows see each place along an axis: float32."""
    starts = torch.tensor(list(starts))
    places = torch.arange(int(starts[-1]) + window)[:, None]
    return ((starts <= places) & (places < starts + window)).sum(dim=1).float()


def _windows(
    network: Network, image: np.ndarray, grid: Grid, inference: Inference, runtime: Runtime
) -> Iterator[Tensor]:
    """The class probabilities of each window, row by row: [C,h,w]; as many at a time as go through the network."""
    compute = partial(class_probabilities, network, scales=inference.scales, flip=inference.flip)
    places = product(grid.tops, grid.lefts)
    while some := list(islice(places, runtime.samples_at_a_time(grid.window))):
        crops = np.stack([image[top : top + grid.window[0], left : left + grid.window[1]] for top, left in some])
        try:
            yield from runtime.run(compute, torch.from_numpy(crops).permute(0, 3, 1, 2), gives="scores")
        except TooLargeError:
            raise InferenceError(_too_large(grid.window, inference, runtime)) from None
        except NotFiniteError as error:
            raise InferenceError(str(error)) from None


def class_softmax(logits: Tensor) -> Tensor:
    """[B,C,H,W] -> the same over C, with the classes of a pixel side by side, as they come out of prepared networks.

    torch's softmax over the second dimension would reorder them first, for three times the time.
    """
    return logits.permute(0, 2, 3, 1).softmax(dim=-1).permute(0, 3, 1, 2)


def _resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps [B,C,H,W] of another size: bilinear, over as many pixels as become one where they shrink."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False, antialias=True)


def _too_large(window: tuple[int, int], inference: Inference, runtime: Runtime) -> str:
    height, width = (round(length * max(inference.scales)) for length in window)
    settings = ["smaller or fewer --scales"] if len(inference.scales) > 1 else []
    if runtime.device.type == "cuda" and runtime.dtype == torch.float32:
        settings.append("--dtype bfloat16")
    advice = ", or ".join([f"a --window smaller than {window[0]}x{window[1]}", *settings])
    return f"out of memory on {runtime.device} with {height}x{width} pixels at a time; choose {advice}"
