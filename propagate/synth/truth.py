"""The files of the truth folder: where they lie, and how flow and occlusion are stored."""

from pathlib import Path

import cv2
import numpy as np

from propagate.errors import InputError

TRUTH_FOLDER = "truth"
OTHER_FRAMES = {-1: "previous", 1: "next"}  # offset -> its name in file names
_UNITS_PER_PIXEL = 64
_ZERO = 1 << 15
FLOW_LIMIT = (_ZERO - 1) / _UNITS_PER_PIXEL  # pixels

FORMAT = f"""\
What is exactly known of every frame, in <split>/<city>/<key>_*.png; <key> is <city>_<snippet>_<frame>.

<key>_gtFine_labelIds.png       8 bits: the label id of Cityscapes, 0 to 33, of what is seen at the pixel's centre.
<key>_flow_to_next.png          16 bits, RGB, as KITTI stores flow, on this frame's grid:
                                  dx = (R - {_ZERO}) / {_UNITS_PER_PIXEL} pixels,
                                  dy = (G - {_ZERO}) / {_UNITS_PER_PIXEL} pixels, B = 1 where they are valid.
                                What is seen here at (x, y) is at (x + dx, y + dy) in the next frame, whether it
                                is seen there or not.
<key>_flow_to_previous.png      The same, into the previous frame.
<key>_occluded_in_next.png      8 bits: 255 where what is seen here is hidden in, or outside of, the next frame; else 0.
<key>_occluded_in_previous.png  The same, for the previous frame.

The first frame of a snippet has no previous frame, the last no next one. A flow is invalid only where it is longer
than {FLOW_LIMIT:.0f} pixels along an axis or ends behind the camera.
"""


def truth_path(folder: Path, key: str, what: str) -> Path:
    """A file of the truth about a frame; what: ``flow_to_next``, ``occluded_in_previous``, ``gtFine_labelIds`` …"""
    return folder / f"{key}_{what}.png"


def write_flow(path: Path, flow: np.ndarray) -> None:
    """Store a flow [2,H,W] float32 pixels; NaN, and what is longer than FLOW_LIMIT, is stored as invalid."""
    with np.errstate(invalid="ignore"):
        valid = (np.abs(flow) <= FLOW_LIMIT).all(0)
    stored = np.round(np.where(valid, flow, 0) * _UNITS_PER_PIXEL + _ZERO).astype(np.uint16)
    write_png(path, np.stack((valid.astype(np.uint16), stored[1], stored[0]), 2))


def read_flow(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A flow [2,H,W] float32 pixels, 0 where invalid, and where it is valid: bool [H,W]. Raises InputError."""
    stored = _read_png(path, np.uint16, 3)
    valid = stored[..., 0] > 0
    flow = (stored[..., :0:-1].transpose(2, 0, 1).astype(np.float32) - _ZERO) / np.float32(_UNITS_PER_PIXEL)
    return np.where(valid, flow, np.float32(0)), valid


def read_occlusion(path: Path) -> np.ndarray:
    """Where a frame's surface is not seen in the other frame: bool [H,W]. Raises InputError."""
    return _read_png(path, np.uint8, 2) > 0


def write_png(path: Path, image: np.ndarray) -> None:
    """Store an image [H,W] or [H,W,BGR], uint8 or uint16. Raises OSError."""
    encoded, data = cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    assert encoded
    path.write_bytes(data.tobytes())


def _read_png(path: Path, dtype: type, num_axes: int) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None or image.dtype != dtype or image.ndim != num_axes:
        found = "no image" if image is None else f"{image.dtype} of shape {image.shape}"
        shape = "[H,W,3]" if num_axes == 3 else "[H,W]"
        raise InputError(str(path), f"found {found}, expected a PNG of {np.dtype(dtype)} {shape}")
    return image
