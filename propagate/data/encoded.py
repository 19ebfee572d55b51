"""What an encoded image says of itself, and whether all of it is there: PNG and JPEG, without decoding."""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.image_limit import require_few_pixels
from propagate.errors import InputError

AGAIN = "copy or download it again"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_KINDS = {0: ("grey", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("grey and alpha", 2), 6: ("RGBA", 4)}
_JPEG_KINDS = {1: "grey", 3: "RGB", 4: "CMYK"}
_JPEG_END = 0xD9
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
# Within a scan, 0xFF is data before 0x00 and a restart before 0xD0…0xD7.
_JPEG_MARKER_AFTER_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
# Reference: PNG specification, section 8.2: first column and row of each Adam7 pass, and its steps.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class Header:
    """What an encoded image says of itself; `bits` is per channel."""

    format: str
    height: int
    width: int
    bits: int
    kind: str
    interlaced: bool = False

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.kind} {self.format}"


def checked_header(data: bytes, where: str) -> Header:
    """The header of an image whose structure is whole. Raises: InputError."""
    header = read_header(data, where)
    if header.format == "JPEG":
        markers = {marker for marker, _ in _jpeg_segments(data, where)}
        if _JPEG_SCAN not in markers:
            raise InputError(where, f"damaged JPEG: no picture in it; {AGAIN}")
        return header
    if b"IDAT" not in {kind for kind, _ in png_chunks(data, where)}:
        raise InputError(where, f"damaged PNG: no picture in it (IDAT); {AGAIN}")
    return header


def read_header(data: bytes, where: str) -> Header:
    """The header from an image's first bytes. Raises: InputError, also where it has more pixels than may be read."""
    if not data:
        raise InputError(where, f"empty file (0 bytes), expected a PNG or JPEG image; {AGAIN}")
    if data.startswith(_PNG_SIGNATURE):
        header = _png_header(data, where)
    elif data.startswith(_JPEG_SIGNATURE):
        header = _jpeg_header(data, where)
    else:
        raise InputError(
            where, f"neither PNG nor JPEG (it begins with {data[:12]!r}); convert it, or {AGAIN} if it should be"
        )
    require_few_pixels(header.height, header.width, where, InputError)
    return header


def _png_header(data: bytes, where: str) -> Header:
    kind, header = next(png_chunks(data, where))
    if kind != b"IHDR" or len(header) != 13:
        raise InputError(where, f"damaged PNG: no header chunk (IHDR) at its start; {AGAIN}")
    width, height, bits, color_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if color_type not in _PNG_KINDS or not width or not height:
        raise InputError(where, f"damaged PNG: no colour type {color_type}, or no pixels; {AGAIN}")
    return Header("PNG", height, width, bits, _PNG_KINDS[color_type][0], bool(interlaced))


def _jpeg_header(data: bytes, where: str) -> Header:
    for marker, segment in _jpeg_segments(data, where):
        if marker in _JPEG_FRAMES and len(segment) >= 6:
            bits, height, width, components = struct.unpack_from(">BHHB", segment)
            if components in _JPEG_KINDS and height and width:
                return Header("JPEG", height, width, bits, _JPEG_KINDS[components])
            break
    raise InputError(where, f"damaged JPEG: no frame header with a size and colours; {AGAIN}")


def png_chunks(data: bytes, where: str) -> Iterator[tuple[bytes, memoryview]]:
    """Each chunk's type and content, checksums compared, through to the end chunk. Raises: InputError."""
    view = memoryview(data)
    position, kind = len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        if len(data) < position + 12:
            raise InputError(where, f"truncated PNG: {len(data)} bytes without an end (IEND); {AGAIN}")
        length, kind = struct.unpack_from(">I4s", data, position)
        content, end = position + 8, position + 8 + length
        chunk = f"chunk {kind.decode() if kind.isalpha() else kind}"
        if len(data) < end + 4:
            raise InputError(where, f"truncated PNG: {len(data)} bytes, {chunk} needs {end + 4}; {AGAIN}")
        if struct.unpack_from(">I", data, end) != (zlib.crc32(view[position + 4 : end]),):
            raise InputError(where, f"damaged PNG: {chunk} at byte {position} fails its CRC-32; {AGAIN}")
        yield kind, view[content:end]
        position = end + 4
    if position != len(data):
        raise InputError(where, f"damaged PNG: {len(data) - position} bytes after its end (IEND); {AGAIN}")


def _jpeg_segments(data: bytes, where: str) -> Iterator[tuple[int, memoryview]]:
    """Each segment's marker and content, through to the end-of-image marker. Raises: InputError.

    What follows that marker (cameras append previews) belongs to no picture and is left alone.
    """
    view = memoryview(data)
    position, after_scan = 2, False
    while True:
        match = (_JPEG_MARKER_AFTER_SCAN.search if after_scan else _JPEG_MARKER.match)(data, position)
        if match is None:
            if after_scan or position >= len(data) - 1:
                raise InputError(where, f"truncated JPEG: {len(data)} bytes without an end (EOI); {AGAIN}")
            raise InputError(where, f"damaged JPEG: no marker at byte {position}; {AGAIN}")
        marker, position = match[1][0], match.end()
        if marker == _JPEG_END:
            return
        after_scan = marker == _JPEG_SCAN
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data):
            raise InputError(where, f"truncated JPEG: {len(data)} bytes end within a segment; {AGAIN}")
        yield marker, view[position + 2 : position + length]
        position += length


def png_row_bytes(header: Header) -> int:
    """The size of a PNG's inflated rows, each led by its filter byte."""
    channels = dict(_PNG_KINDS.values())[header.kind]
    total = 0
    for column, row, column_step, row_step in _ADAM7 if header.interlaced else ((0, 0, 1, 1),):
        width = len(range(column, header.width, column_step))
        height = len(range(row, header.height, row_step))
        total += height * (1 + (width * channels * header.bits + 7) // 8) if width else 0
    return total
