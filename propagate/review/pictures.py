"""Samples and annotated frames as small pictures with their maps: at most LIMIT bytes each, as scripts hold them.

A frame is a WebP file; a map, in the same size, is the nearest pixels of it, packed by zlib: a script reads it without
reading pixels of an image, which browsers refuse to pages from a disk.
"""

import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image

from propagate.data.images import decode_frame
from propagate.data.sample import Sample
from propagate.review.legend import Legend

LIMIT = 60_000  # bytes of a picture, with all its maps
LONGEST = 640  # pixels of the longer side, where that fits
SHRINKING, SMALLEST = 0.8, 32  # the next size to try, and the longer side of the last one
QUALITIES = (80, 60, 40)  # of WebP; below the last, a smaller size shows more
_ENVELOPE = 600  # bytes of names and numbers around it
_EFFORT = 2  # of WebP, 0…6: the next ones take twice as long, for a hundredth of the bytes
_REASON_SHIFT = 4  # confidence levels have four bits


def draw_sample(
    sample: Sample, legend: Legend, *, truth: np.ndarray | None = None, against: np.ndarray | None = None
) -> dict[str, Any]:
    """A sample as a page shows it. truth, against: [H,W] uint8 label ids. Raises: InputError for a damaged frame."""
    confidence = sample.confidence
    if sample.reason is not None:
        confidence = confidence | sample.reason << _REASON_SHIFT
    maps = {
        "label": legend.index_of[sample.label],
        "confidence": confidence,
        "truth": None if truth is None else legend.index_of[truth],
        "against": None if against is None else legend.index_of[against],
    }
    height, width = sample.size
    return {**_fitted(_frame_of(sample), maps), "full_width": width, "full_height": height}


def draw_source(sample: Sample, legend: Legend) -> dict[str, Any]:
    """An annotated frame as a page shows it beside what was propagated from it. Raises: InputError."""
    return _fitted(_frame_of(sample), {"label": legend.index_of[sample.label]})


def _frame_of(sample: Sample) -> np.ndarray:
    return decode_frame(sample.image, sample.key) if isinstance(sample.image, bytes) else sample.image


def _fitted(frame: np.ndarray, maps: Mapping[str, np.ndarray | None]) -> dict[str, Any]:
    """The largest and best picture, of the sizes and qualities that are tried, that fits: of [H,W] maps each."""
    for width, height in _sizes(frame):
        packed = {name: None if each is None else _packed(each, width, height) for name, each in maps.items()}
        left = LIMIT - _ENVELOPE - sum(len(each) for each in packed.values() if each is not None)
        if left <= 0:
            continue
        shrunk = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            uri = _webp(shrunk, quality)
            if len(uri) <= left:
                return {"width": width, "height": height, "frame": uri, **packed}
    raise AssertionError(f"a picture of {SMALLEST} pixels does not fit into {LIMIT} bytes")


def _sizes(frame: np.ndarray) -> Iterator[tuple[int, int]]:
    """(W, H) to try, the largest first."""
    height, width = frame.shape[:2]
    longest = float(min(LONGEST, max(height, width)))
    while True:
        scale = longest / max(height, width)
        yield max(1, round(width * scale)), max(1, round(height * scale))
        if longest <= SMALLEST:
            return
        longest = max(SMALLEST, longest * SHRINKING)


def _packed(array: np.ndarray, width: int, height: int) -> str:
    """The nearest pixels of a [H,W] uint8 map, row by row, by zlib and Base64."""
    nearest = cv2.resize(array, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return b64encode(zlib.compress(nearest.tobytes())).decode()


def _webp(image: np.ndarray, quality: int) -> str:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=quality, method=_EFFORT)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"
