"""Encoded images to arrays and back: nothing half read, nothing converted behind the user's back."""

import zlib
from io import BytesIO

import numpy as np
from PIL import Image

from jobs.image_limit import open_image
from propagate.data.classes import ClassTable
from propagate.data.clip import COLORS, TRAIN_IDS, Label, Resource
from propagate.data.encoded import AGAIN, Header, checked_header, png_chunks, png_row_bytes, read_header
from propagate.errors import InputError

_HEAD_BYTES = 4096
_LONGEST_HEAD_BYTES = 1 << 20  # a JPEG may carry a thumbnail before its frame header
_TOLD = 3  # unknown colours, in a message
_PIXEL_BYTES, _OTHER_BYTES = 9, 1 << 26  # the most that a file holds for each pixel, and beside them
_FRAME_ADVICE = {
    "grey": "a frame needs its colours: give the RGB image, or repeat the grey channel three times",
    "palette": "a palette has lost colours: give the RGB image, or convert it to RGB",
    "grey and alpha": "a frame needs its colours: give the RGB image, without alpha",
    "RGBA": "remove the alpha channel",
    "CMYK": "convert it to RGB",
}


def decode_frame(data: bytes, where: str) -> np.ndarray:
    """An encoded frame, PNG or JPEG, to [H,W,3] uint8 RGB.

    Raises: InputError, which names `where`: an empty, truncated or damaged file, no image at all, or a frame
    that is not 8-bit RGB. JPEG carries no checksums: damage within its scan can go unseen.
    """
    header = checked_header(data, where)
    if header.bits != 8:
        raise InputError(where, f"{header} frame, expected 8-bit RGB; scale its values to 8 bits per channel")
    if header.kind != "RGB":
        raise InputError(where, f"{header} frame, expected 8-bit RGB; {_FRAME_ADVICE[header.kind]}")
    return _decode(data, header, where)


def check_encoded(data: bytes, where: str) -> None:
    """Prove an encoded image whole without decoding it: every chunk of a PNG, the structure of a JPEG.

    Raises: InputError.
    """
    checked_header(data, where)


def image_size(resource: Resource) -> tuple[int, int]:
    """(H, W), from the first bytes of a PNG or JPEG. Raises: InputError."""
    header = _header_of(resource)
    return header.height, header.width


def read_image(resource: Resource) -> bytes:
    """The file of a PNG or JPEG, as it lies. Raises: InputError.

    Its header is looked at first: what is no image, or has too many pixels or bytes, is neither read nor unpacked.
    """
    header = _header_of(resource)
    most = _PIXEL_BYTES * header.height * header.width + _OTHER_BYTES
    data = resource.read() if resource.size <= most else b""
    if max(resource.size, len(data)) > most:
        found = f"{max(resource.size, len(data))} bytes for {header.height}x{header.width} pixels"
        raise InputError(str(resource), f"{found}, expected at most {most}; is it an image? If it is, save it anew")
    return data


def _header_of(resource: Resource) -> Header:
    where = str(resource)
    head = resource.read(_HEAD_BYTES)
    try:
        return read_header(head, where)
    except InputError:
        longer = resource.read(_LONGEST_HEAD_BYTES) if len(head) == _HEAD_BYTES else head
        if len(longer) == len(head):
            raise
        return read_header(longer, where)


def read_label(label: Label, classes: ClassTable) -> np.ndarray:
    """A label map's file to [H,W] uint8 label ids of its class table; train ids and colours are mapped back.

    Ids are one channel of 8 bits, or palette indices. Colours are RGB, RGBA (what is transparent, nobody labelled) or
    those of a palette. Raises: InputError: a file that cannot be read or holds anything else, and ids or colours that
    the table does not have.
    """
    where = str(label.resource)
    data = read_image(label.resource)
    header = checked_header(data, where)
    if header.format == "JPEG":
        raise InputError(where, "label map as JPEG, whose compression alters ids; expected an 8-bit PNG")
    if label.holds == COLORS:
        return _ids_of_colors(_decode_colors(data, header, where), classes, where)
    if header.kind not in ("grey", "palette"):
        raise InputError(
            where,
            f"{header} label map, expected one 8-bit channel of label ids; where they are colours, write into the "
            "layout file: labels_hold: colors",
        )
    if header.kind == "grey" and header.bits != 8:
        raise InputError(
            where,
            f"{header} label map, expected 8 bits; save label ids (0…255) as an 8-bit grey PNG "
            "(instance ids are no label ids)",
        )
    values = _decode(data, header, where)
    _refuse_unknown(values, label, classes)
    return classes.id_of_train_id.astype(np.uint8)[values] if label.holds == TRAIN_IDS else values


def read_instance_ids(resource: Resource) -> np.ndarray:
    """A map of instances as Cityscapes writes them, one 16-bit channel in a PNG, to [H,W] uint16.

    Raises: InputError: a file that cannot be read, or holds anything else.
    """
    where = str(resource)
    data = read_image(resource)
    header = checked_header(data, where)
    if header.format != "PNG" or header.kind != "grey" or header.bits != 16:
        raise InputError(where, f"{header} map of instances, expected one 16-bit channel; give *_instanceIds.png")
    return _decode(data, header, where).astype(np.uint16)


def read_mask_ids(resource: Resource) -> np.ndarray:
    """A PNG that numbers masks, one channel of 8 or 16 bits or palette indices, to [H,W] uint8 or uint16.

    Raises: InputError: a file that cannot be read, or holds anything else.
    """
    where = str(resource)
    data = read_image(resource)
    header = checked_header(data, where)
    is_numbered = header.kind == "palette" or (header.kind == "grey" and header.bits in (8, 16))
    if header.format != "PNG" or not is_numbered:
        raise InputError(
            where,
            f"{header} of masks, expected a PNG with one channel of 8 or 16 bits: 0 where there is no mask, else its "
            "number; save it so, or as a JSON list of COCO's runs",
        )
    return _decode(data, header, where)


def encode_png(array: np.ndarray, level: int = 1) -> bytes:
    """[H,W,3] RGB or [H,W], uint8, to an 8-bit PNG; `level` is zlib's, 0…9."""
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"expected [H,W] or [H,W,3] uint8, found {list(array.shape)} {array.dtype}")
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def _refuse_unknown(values: np.ndarray, label: Label, classes: ClassTable) -> None:
    """Raise InputError where [H,W] uint8 values are no (train) ids of the table."""
    if label.holds == TRAIN_IDS:
        what, known = "train ids", np.flatnonzero(classes.id_of_train_id >= 0).tolist()
    else:
        what, known = "label ids", sorted(c.id for c in classes.classes)
    counts = np.bincount(values.ravel(), minlength=256)
    unknown = [i for i in np.flatnonzero(counts).tolist() if i not in known]
    if unknown:
        found = ", ".join(f"{i} ({counts[i]} pixels)" for i in unknown)
        raise InputError(
            str(label.resource),
            f"holds {what} that class table '{classes.name}' does not have: {found}; it has "
            f"{_ranges(known)}; correct the label map, or name the class table it was made with",
        )


def _ranges(ids: list[int]) -> str:
    """[0, 1, 2, 255] -> '0…2, 255'."""
    starts = [i for i in ids if i - 1 not in ids]
    ends = [i for i in ids if i + 1 not in ids]
    return ", ".join(str(a) if a == b else f"{a}…{b}" for a, b in zip(starts, ends, strict=True))


def _decode_colors(data: bytes, header: Header, where: str) -> np.ndarray:
    """[H,W,4] uint8 RGBA of a PNG. Raises: InputError."""
    if header.kind not in ("RGB", "RGBA", "palette") or (header.kind != "palette" and header.bits != 8):
        raise InputError(where, f"{header} label map, expected 8-bit RGB, RGBA or a palette: its layout says colours")
    _decode(data, header, where)
    with open_image(BytesIO(data), where, InputError, formats=[header.format]) as image:
        return np.array(image.convert("RGBA"))


def _ids_of_colors(colors: np.ndarray, classes: ClassTable, where: str) -> np.ndarray:
    """[H,W,4] uint8 RGBA -> [H,W] uint8 label ids. Raises: InputError."""
    codes = colors[..., :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    known, ids = classes.colors
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    opaque = colors[..., 3]
    is_blended = (opaque != 0) & (opaque != 255)
    is_unknown = (known[place] != codes) & (opaque == 255)
    if is_blended.any():
        raise InputError(
            where, f"half transparent at {_first(is_blended)}, {is_blended.sum()} pixels; save colours without blending"
        )
    if is_unknown.any():
        strangers, counts = np.unique(codes[is_unknown], return_counts=True)
        order = np.argsort(-counts)
        told = [
            f"{tuple(int(code).to_bytes(3))} ({count} pixels, first at {_first(is_unknown & (codes == code))})"
            for code, count in zip(strangers[order[:_TOLD]], counts[order[:_TOLD]], strict=True)
        ]
        more = f", and {len(strangers) - _TOLD} more" if len(strangers) > _TOLD else ""
        raise InputError(
            where,
            f"holds colours that class table '{classes.name}' does not have: {', '.join(told)}{more}; correct the "
            "label map, or the table",
        )
    return np.where(opaque, ids[place], np.uint8(classes.ignore_id))


def _first(mask: np.ndarray) -> str:
    y, x = np.unravel_index(int(mask.argmax()), mask.shape)
    return f"row {y}, column {x}"


def _decode(data: bytes, header: Header, where: str) -> np.ndarray:
    """Pixels as they are: [H,W,3] of RGB, [H,W] of grey values or palette indices. Raises: InputError."""
    try:
        with open_image(BytesIO(data), where, InputError, formats=[header.format]) as image:
            pixels = np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(where, f"{header.format} that cannot be decoded ({error}); {AGAIN}") from None
    # Pillow accepts a stream that ends early, and leaves the rest zero: only then is it inflated once more.
    if header.format == "PNG" and (header.interlaced or not pixels[-1].any()):
        _check_png_rows(data, header, where)
    return pixels


def _check_png_rows(data: bytes, header: Header, where: str) -> None:
    """Raise InputError unless the PNG's compressed stream holds all rows."""
    inflater, expected, found = zlib.decompressobj(), png_row_bytes(header), 0
    for kind, content in png_chunks(data, where):
        if kind == b"IDAT":
            found += len(inflater.decompress(content, expected))
            if found >= expected:
                return
    raise InputError(where, f"incomplete PNG: {found} of {expected} bytes of pixel rows; {AGAIN}")
