"""Flow in files: Middlebury's `.flo` and KITTI's 16-bit PNG, which `propagate synth` writes too.

Reference: Baker et al., IJCV 2011 (`.flo`); Menze and Geiger, CVPR 2015 (PNG).
"""

import struct
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from jobs.errors import FileError
from jobs.files import open_regular, write_whole
from jobs.image_limit import require_few_pixels
from sdcnet.errors import FlowFileError

FLO, PNG = ".flo", ".png"
AGAIN = "Copy or download it again"
PNG_ZERO, PNG_UNITS = 1 << 15, 64  # what a PNG stores for no motion, and for each pixel of it
PNG_LIMIT = (PNG_ZERO - 1) / PNG_UNITS  # pixels along an axis, the largest that a PNG holds

_FLO_HEADER = struct.Struct("<4sii")  # magic, width, height; rows of (dx, dy) as little-endian float32 follow
_FLO_MAGIC = b"PIEH"  # 202021.25 as float32, by which a reader with the wrong byte order is caught
_FLO_UNKNOWN = np.float32(1e10)  # written where flow is unknown; all above 1e9 is read so
_FLO_LIMIT = 1e9
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE_END = 24  # bytes, of which the last eight are width and height
_PNG_COMPRESSION = (cv2.IMWRITE_PNG_COMPRESSION, 1)  # half the bytes of OpenCV's own choice; higher levels take longer


def read_flow(path: Path) -> tuple[Tensor, Tensor]:
    """A flow [1,2,H,W] float32 pixels, 0 where it is unknown, and where it is known: bool [1,1,H,W].

    The format follows from the name, `.flo` or `.png`. Raises: FlowFileError, where the file is not that, or not whole.
    """
    decode = {FLO: _decode_flo, PNG: _decode_png}[_format(path)]
    pixels, valid = decode(read_file(path, "a file of flow"), str(path))
    pixels[~valid] = 0
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous(), torch.from_numpy(valid)[None, None]


def write_flow(path: Path, flow: Tensor, valid: Tensor | None = None) -> None:
    """Write a flow [1,2,H,W] float pixels, known where valid (bool [1,1,H,W]; without it, everywhere).

    A `.flo` holds it as float32, a `.png` in 64ths of a pixel.
    Raises: FlowFileError, where the file cannot be written, or flow that is said to be known does not fit into it.
    ValueError, where the shapes are others.
    """
    if flow.ndim != 4 or flow.shape[:2] != (1, 2) or (valid is not None and valid.shape != (1, 1, *flow.shape[2:])):
        shapes = f"{list(flow.shape)}" + ("" if valid is None else f" and {list(valid.shape)}")
        raise ValueError(f"expected a flow [1,2,H,W] and valid [1,1,H,W], found {shapes}")
    pixels = flow[0].permute(1, 2, 0).to("cpu", torch.float32).numpy()
    known = np.ones(pixels.shape[:2], bool) if valid is None else valid[0, 0].cpu().numpy()
    encode = {FLO: _encode_flo, PNG: _encode_png}[_format(path)]
    content = encode(pixels, known, str(path))
    try:
        write_whole(path, content)
    except OSError as error:
        raise FlowFileError(str(path), f"cannot be written ({error.strerror}). Name a folder that is there") from error


def read_file(path: Path, expected: str) -> bytes:
    """What a file holds. Raises: FlowFileError, which says what was expected."""
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise FlowFileError(str(path), f"cannot be read ({error.strerror}), expected {expected}") from error


def decode_png(content: bytes, where: str, error: type[FileError]) -> np.ndarray | None:
    """The pixels of a PNG file as they are stored, of any depth and channels; None where it is no whole PNG.

    Raises that error, which names `where`, for more pixels than may be read.
    """
    if not content.startswith(_PNG_SIGNATURE) or len(content) < _PNG_SIZE_END:
        return None
    width, height = struct.unpack_from(">II", content, _PNG_SIZE_END - 8)
    require_few_pixels(height, width, where, error)
    stored: np.ndarray | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return stored


def _decode_flo(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The flow of a file, [H,W,2] float32, and where it is known, [H,W] bool."""
    header, rows = content[: _FLO_HEADER.size], content[_FLO_HEADER.size :]
    if header[:4] != _FLO_MAGIC:
        raise FlowFileError(where, f"begins with {header[:4]!r}, expected {_FLO_MAGIC!r}, as a .flo file does")
    if len(header) < _FLO_HEADER.size:
        raise FlowFileError(where, f"ends within its header, after {len(content)} bytes. {AGAIN}")
    _, width, height = _FLO_HEADER.unpack(header)
    if width < 1 or height < 1 or len(rows) != 8 * width * height:
        expected = f"{_FLO_HEADER.size + 8 * width * height} of a flow of {height}x{width} pixels, which it says it is"
        raise FlowFileError(where, f"has {len(content)} bytes, expected {expected}. {AGAIN}")
    require_few_pixels(height, width, where, FlowFileError)
    pixels = np.frombuffer(rows, "<f4").reshape(height, width, 2).astype(np.float32)
    return pixels, np.abs(pixels).max(axis=2) <= _FLO_LIMIT  # NaN is no more known than what is too large


def _encode_flo(pixels: np.ndarray, known: np.ndarray, where: str) -> bytes:
    _refuse_beyond(pixels, known, where, _FLO_LIMIT, "Is it the right flow?")
    stored = np.where(known[..., None], pixels, _FLO_UNKNOWN)
    height, width = known.shape
    return _FLO_HEADER.pack(_FLO_MAGIC, width, height) + stored.astype("<f4").tobytes()


def _decode_png(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    if not content.startswith(_PNG_SIGNATURE):
        raise FlowFileError(where, f"begins with {content[:8]!r}, which no PNG does. {AGAIN}")
    stored = decode_png(content, where, FlowFileError)
    if stored is None:
        raise FlowFileError(where, f"PNG that cannot be decoded: damaged, or not whole. {AGAIN}")
    if stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] != 3:
        found = f"{8 * stored.itemsize} bits in {1 if stored.ndim == 2 else stored.shape[2]} channels"
        raise FlowFileError(where, f"PNG of {found}, expected flow as KITTI stores it: 16 bits in 3 channels")
    blue, green, red = cv2.split(stored)
    pixels = (np.stack((red, green), axis=2).astype(np.float32) - PNG_ZERO) / PNG_UNITS
    return pixels, blue > 0


def _encode_png(pixels: np.ndarray, known: np.ndarray, where: str) -> bytes:
    _refuse_beyond(pixels, known, where, PNG_LIMIT, "Write a .flo file, which holds any flow")
    units = np.round(np.where(known[..., None], pixels, 0) * PNG_UNITS)  # before the sum, which would round already
    stored = (units + PNG_ZERO).astype(np.uint16)
    stored[~known] = 0  # as KITTI does
    image = np.dstack((known.astype(np.uint16), stored[..., 1], stored[..., 0]))
    encoded, content = cv2.imencode(".png", image, _PNG_COMPRESSION)
    assert encoded
    return content.tobytes()


def _refuse_beyond(pixels: np.ndarray, known: np.ndarray, where: str, limit: float, advice: str) -> None:
    beyond = known & ~(np.abs(pixels) <= limit).all(axis=2)
    if beyond.any():
        y, x = np.argwhere(beyond)[0]
        found = f"({pixels[y, x, 0]:g}, {pixels[y, x, 1]:g}) at x={x}, y={y}"
        raise FlowFileError(where, f"a flow of {found} is beyond the ±{limit:g} pixels that its format holds. {advice}")


def _format(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (FLO, PNG):
        raise FlowFileError(str(path), f"'{suffix}' is no format of flow that is known here, expected {FLO} or {PNG}")
    return suffix
