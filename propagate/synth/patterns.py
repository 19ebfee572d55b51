"""Noise and edges, as functions of coordinates: what the materials are made of."""

from functools import cache

import cv2
import numpy as np

_TILE = 512
_LONGEST_ROW = 1 << 15  # of what OpenCV remaps


@cache
def _tile() -> np.ndarray:
    """[512,512] float32 smooth noise of mean 0 and deviation 1, about 4 texels a bump, that repeats seamlessly."""
    white = np.random.default_rng(20).standard_normal((_TILE, _TILE)).astype(np.float32)
    padded = cv2.copyMakeBorder(white, 8, 8, 8, 8, cv2.BORDER_WRAP)
    smooth = cv2.GaussianBlur(padded, (0, 0), 1.0)[8:-8, 8:-8]
    return (smooth - smooth.mean()) / smooth.std()


def lookup(image: np.ndarray, x: np.ndarray, y: np.ndarray, border: int) -> np.ndarray:
    """image [H,W] read bilinearly at N points x, y in its pixels: [N]. border: how OpenCV goes on past the edge."""
    if len(x) < _LONGEST_ROW:
        return cv2.remap(image, x[None], y[None], cv2.INTER_LINEAR, borderMode=border)[0]
    half = len(x) // 2
    parts = (slice(None, half), slice(half, None))
    return np.concatenate([lookup(image, x[part], y[part], border) for part in parts])


def noise(u: np.ndarray, v: np.ndarray, wavelength: float) -> np.ndarray:
    """[N] smooth noise of deviation 1, with bumps of about a wavelength."""
    scale = np.float32(4 / wavelength)
    return lookup(_tile(), np.mod(u * scale, _TILE), np.mod(v * scale, _TILE), cv2.BORDER_WRAP)


def cell_noise(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """[N] independent values in [0,1), one for each pair of whole numbers."""
    mixed = i.astype(np.int64) * 73856093 ^ j.astype(np.int64) * 19349663
    return ((mixed * 2654435761 >> 7) % 65536).astype(np.float32) / 65536


def fade(footprint: np.ndarray, size: float) -> np.ndarray:
    """How much a pixel still sees of a pattern of that size: 1 where fine pixels meet it, 0 where coarse ones do."""
    return np.clip(1.4 - footprint * np.float32(2 / size), 0, 1)


def within(distance: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """The share of a pixel that lies inside an edge, from the signed distance to it (positive inside)."""
    return np.clip(distance / np.maximum(footprint, np.float32(1e-4)) + np.float32(0.5), 0, 1)


def stripe(value: np.ndarray, centre: float | np.ndarray, half_width: float, footprint: np.ndarray) -> np.ndarray:
    """[N] coverage of the band around centre."""
    return within(np.float32(half_width) - np.abs(value - centre), footprint)
