"""Encoded images: what is read, and what is refused in which words."""

import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from propagate.data.classes import load_classes
from propagate.data.clip import ArchiveMember, Label, Resource
from propagate.data.encoded import Header, png_row_bytes
from propagate.data.images import check_encoded, decode_frame, encode_png, image_size, read_image, read_label
from propagate.datasets.tree import Tree
from propagate.errors import InputError

WHERE = "root/frame.png"
FRAME = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
GREY = FRAME[..., 0]
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def made_png(
    rows: bytes, *, bits: int = 8, color_type: int = 2, interlaced: int = 0, parts: int = 1, height: int = 24
) -> bytes:
    """A PNG of FRAME's width, whatever its rows hold, with correct checksums."""
    header = struct.pack(">IIBBBBB", 40, height, bits, color_type, 0, 0, interlaced)
    stream = zlib.compress(rows)
    cuts = [len(stream) * i // parts for i in range(parts + 1)]
    data = b"".join(chunk(b"IDAT", stream[a:b]) for a, b in pairwise(cuts))
    return SIGNATURE + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def rows_of(frame: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in frame)


def png_of(frame: np.ndarray) -> bytes:
    return saved(Image.fromarray(frame))


PNG = png_of(FRAME)
JPEG = saved(Image.fromarray(FRAME), "JPEG", quality=95)
PROGRESSIVE = saved(Image.fromarray(FRAME), "JPEG", quality=90, progressive=True)


def write_label(folder: Path, data: bytes, *, holds: str = "label_ids") -> Label:
    (folder / "label.png").write_bytes(data)
    return Label(Resource(str(folder), "label.png", len(data)), holds)


def test_a_png_is_decoded_exactly() -> None:
    decoded = decode_frame(PNG, WHERE)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, FRAME)
    decoded[0, 0] = 0  # torch wants writable memory


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE])
def test_a_jpeg_is_decoded_as_pillow_does(data: bytes) -> None:
    np.testing.assert_array_equal(decode_frame(data, WHERE), np.asarray(Image.open(BytesIO(data))))


def test_a_black_frame_is_no_half_frame() -> None:
    black = np.zeros_like(FRAME)
    np.testing.assert_array_equal(decode_frame(png_of(black), WHERE), black)
    several_parts = made_png(rows_of(black) + bytes(1000), parts=3)
    np.testing.assert_array_equal(decode_frame(several_parts, WHERE), black)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", r"empty file \(0 bytes\), expected a PNG or JPEG image"),
        (b"<html>Not found</html>", r"neither PNG nor JPEG \(it begins with b'<html>Not fo'\)"),
        (PNG[:-5], r"truncated PNG: \d+ bytes without an end"),
        (PNG[:-12], r"truncated PNG: \d+ bytes without an end \(IEND\)"),
        (PNG[:200], r"truncated PNG: 200 bytes, chunk IDAT needs \d+"),
        (PNG[:20], r"truncated PNG: 20 bytes"),
        (PNG[:100] + b"\xa5" + PNG[101:], r"damaged PNG: chunk IDAT at byte 33 fails its CRC-32"),
        (PNG + b"more", r"damaged PNG: 4 bytes after its end"),
        (SIGNATURE + chunk(b"IEND", b""), r"damaged PNG: no header chunk"),
        (SIGNATURE + PNG[8:33] + chunk(b"IEND", b""), r"damaged PNG: no picture in it"),
        (made_png(b"", color_type=1), r"damaged PNG: no colour type 1"),
        (made_png(rows_of(FRAME[:12])), r"incomplete PNG: 1452 of 2904 bytes of pixel rows"),
        (made_png(rows_of(FRAME[:23]), parts=5), r"incomplete PNG: 2783 of 2904 bytes"),
        (made_png(bytes(2804), interlaced=1), r"incomplete PNG: 2804 of 2925 bytes"),
        (made_png(b"\1" * 2683, interlaced=1, height=23), r"incomplete PNG: 2683 of 2804 bytes"),
        (made_png(b"\7" * 2904), r"PNG that cannot be decoded"),
        (JPEG[:-2], r"truncated JPEG: \d+ bytes without an end"),
        (JPEG[: len(JPEG) // 2], r"truncated JPEG"),
        (PROGRESSIVE[: len(PROGRESSIVE) // 2], r"truncated JPEG"),
        (JPEG[:10], r"truncated JPEG: 10 bytes end within a segment"),
        (JPEG[:2] + b"\xff", r"truncated JPEG"),
        (b"\xff\xd8\xff\xd9", r"damaged JPEG: no frame header"),
        (JPEG[:20] + b"text" + JPEG[20:], r"damaged JPEG: no marker at byte 20"),
    ],
)
def test_what_is_not_whole_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{WHERE}: {sentence}.*; .*again"):
        decode_frame(data, WHERE)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (made_png(rows_of(np.repeat(FRAME, 2, axis=2)), bits=16), "16-bit RGB PNG frame, expected 8-bit RGB; scale"),
        (saved(Image.fromarray(GREY.astype(np.uint16))), "16-bit grey PNG frame, expected 8-bit RGB; scale"),
        (png_of(GREY), "8-bit grey PNG frame, expected 8-bit RGB; .* colours"),
        (saved(Image.fromarray(GREY), "JPEG"), "8-bit grey JPEG frame, expected 8-bit RGB; .* colours"),
        (saved(Image.fromarray(FRAME).quantize(256)), "8-bit palette PNG frame, expected 8-bit RGB; .* palette"),
        (png_of(np.dstack((FRAME, GREY))), "8-bit RGBA PNG frame, expected 8-bit RGB; remove the alpha"),
        (saved(Image.fromarray(FRAME).convert("LA")), "8-bit grey and alpha PNG frame, expected 8-bit RGB; .* alpha"),
        (saved(Image.fromarray(FRAME).convert("CMYK"), "JPEG"), "8-bit CMYK JPEG frame, expected 8-bit RGB; convert"),
    ],
)
def test_a_frame_of_another_kind_is_refused(data: bytes, sentence: str) -> None:
    check_encoded(data, WHERE)
    with pytest.raises(InputError, match=f"^{WHERE}: {sentence}"):
        decode_frame(data, WHERE)


@pytest.mark.parametrize("data", [PNG, JPEG, PROGRESSIVE])
def test_whole_files_pass_the_check(data: bytes) -> None:
    check_encoded(data, WHERE)


def test_what_a_camera_appends_to_a_jpeg_is_left_alone() -> None:
    check_encoded(JPEG + JPEG, WHERE)


@given(position=st.integers(0, len(PNG) - 1), flip=st.integers(1, 255))
def test_no_changed_byte_of_a_png_passes(position: int, flip: int) -> None:
    data = bytearray(PNG)
    data[position] ^= flip
    with pytest.raises(InputError):
        check_encoded(bytes(data), WHERE)


@given(length=st.integers(0, max(len(PNG), len(JPEG), len(PROGRESSIVE)) - 1))
@pytest.mark.parametrize("data", [PNG, JPEG, PROGRESSIVE])
def test_no_truncated_file_passes(data: bytes, length: int) -> None:
    if length < len(data):
        with pytest.raises(InputError):
            check_encoded(data[:length], WHERE)


@settings(max_examples=200, deadline=None)
@given(position=st.integers(2, len(JPEG) - 1), junk=st.binary(min_size=1, max_size=8))
@pytest.mark.parametrize("data", [JPEG, PNG])
def test_junk_is_decoded_or_refused_but_never_crashes(data: bytes, position: int, junk: bytes) -> None:
    changed = data[:position] + junk + data[position + len(junk) :]
    with suppress(InputError):
        assert decode_frame(changed, WHERE).dtype == np.uint8


def test_rows_of_less_than_whole_bytes_are_rounded_up() -> None:
    assert png_row_bytes(Header("PNG", 24, 41, 4, "palette")) == 24 * (1 + 21)


def test_a_damaged_stream_with_right_checksums_is_refused() -> None:
    stream = zlib.compress(rows_of(FRAME))
    cut = stream[:1000] + stream[1100:]
    data = PNG[:33] + chunk(b"IDAT", cut) + chunk(b"IEND", b"")
    check_encoded(data, WHERE)
    with pytest.raises(InputError, match="PNG that cannot be decoded"):
        decode_frame(data, WHERE)


@pytest.mark.parametrize("archived", [False, True])
def test_the_size_is_read_from_the_first_bytes(tmp_path: Path, archived: bool) -> None:
    with_thumbnail = JPEG[:2] + b"\xff\xe1\xff\xff" + bytes(0xFFFD) + JPEG[2:]
    truncated_far_behind = SIGNATURE + PNG[8:33] + bytes(10_000)
    files = {
        "a.png": PNG,
        "b.jpg": with_thumbnail,
        "c.png": truncated_far_behind,
        "d.png": b"",
        "e.png": b"text" * 9999,
    }
    for name, data in files.items():
        if archived:
            with zipfile.ZipFile(tmp_path / "all.zip", "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(name, data)
        else:
            (tmp_path / name).write_bytes(data)
    tree = Tree(tmp_path)
    for name in ("a.png", "b.jpg", "c.png"):
        assert image_size(tree.resource(name)) == (24, 40)
    with pytest.raises(InputError, match=r"d\.png: empty file"):
        image_size(tree.resource("d.png"))
    with pytest.raises(InputError, match=r"e\.png: neither PNG nor JPEG"):
        image_size(tree.resource("e.png"))


def test_label_ids_are_read_as_they_are(tmp_path: Path) -> None:
    ids = (np.arange(24 * 40) % 34).astype(np.uint8).reshape(24, 40)
    np.testing.assert_array_equal(read_label(write_label(tmp_path, png_of(ids)), load_classes("cityscapes")), ids)


@pytest.mark.parametrize("num_colors", [256, 12, 4])
def test_palette_indices_are_the_ids(tmp_path: Path, num_colors: int) -> None:
    """Pillow saves small palettes with 2 or 4 bits a pixel."""
    ids = GREY % min(num_colors, 12)
    image = Image.fromarray(ids)
    image.putpalette(bytes(reversed(range(3 * num_colors % 256 or 255))))
    np.testing.assert_array_equal(read_label(write_label(tmp_path, saved(image)), load_classes("camvid")), ids)


def test_train_ids_are_mapped_back(tmp_path: Path) -> None:
    train_ids = np.array([[0, 13, 255]], np.uint8)
    label = write_label(tmp_path, png_of(train_ids), holds="train_ids")
    np.testing.assert_array_equal(read_label(label, load_classes("cityscapes")), [[7, 26, 0]])


def painted(ids: np.ndarray, mode: str) -> bytes:
    """A label map of CamVid's ids in its colours, as a PNG of that mode."""
    image = Image.fromarray(load_classes("camvid").palette[ids])
    return saved(image.quantize(12) if mode == "P" else image.convert(mode))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_label_maps_of_colours(tmp_path: Path, mode: str) -> None:
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    label = write_label(tmp_path, painted(ids, mode), holds="colors")
    np.testing.assert_array_equal(read_label(label, load_classes("camvid")), ids)


def test_what_is_transparent_nobody_labelled(tmp_path: Path) -> None:
    pixels = np.full((2, 3, 4), (128, 64, 128, 255), np.uint8)
    pixels[0, 1] = (9, 9, 9, 0)
    label = write_label(tmp_path, saved(Image.fromarray(pixels)), holds="colors")
    assert read_label(label, load_classes("camvid")).tolist() == [[3, 11, 3], [3, 3, 3]]
    pixels[1, 2, 3] = 100
    label = write_label(tmp_path, saved(Image.fromarray(pixels)), holds="colors")
    with pytest.raises(InputError, match="half transparent at row 1, column 2, 1 pixels"):
        read_label(label, load_classes("camvid"))


def test_unknown_colours_are_counted_and_their_first_place_is_named(tmp_path: Path) -> None:
    pixels = np.full((2, 3, 3), (128, 64, 128), np.uint8)
    pixels[0, 2], pixels[1, 0], pixels[1, 1] = (1, 2, 3), (1, 2, 3), (255, 0, 0)
    label = write_label(tmp_path, saved(Image.fromarray(pixels)), holds="colors")
    sentence = r"'camvid' does not have: \(1, 2, 3\) \(2 pixels, first at row 0, column 2\), \(255, 0, 0\) \(1 pixels"
    with pytest.raises(InputError, match=sentence):
        read_label(label, load_classes("camvid"))
    label = write_label(tmp_path, saved(Image.fromarray(GREY)), holds="colors")
    with pytest.raises(InputError, match="8-bit grey PNG label map, expected 8-bit RGB, RGBA or a palette"):
        read_label(label, load_classes("camvid"))


@pytest.mark.parametrize(
    ("values", "holds", "sentence"),
    [
        (
            [[0, 40, 40, 99]],
            "label_ids",
            r"holds label ids .*'cityscapes' does not have: 40 \(2 pixels\), 99 \(1 pixels\); it has 0…33;",
        ),
        (
            [[0, 19, 255]],
            "train_ids",
            r"holds train ids .*'cityscapes' does not have: 19 \(1 pixels\); it has 0…18, 255;",
        ),
    ],
)
def test_unknown_ids_are_refused_by_number(tmp_path: Path, values: list[list[int]], holds: str, sentence: str) -> None:
    label = write_label(tmp_path, png_of(np.array(values, np.uint8)), holds=holds)
    with pytest.raises(InputError, match=sentence):
        read_label(label, load_classes("cityscapes"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (PNG, "8-bit RGB PNG label map, expected one 8-bit channel"),
        (saved(Image.fromarray(GREY.astype(np.uint16))), "16-bit grey PNG label map, expected 8 bits"),
        (saved(Image.fromarray(GREY > 9)), "1-bit grey PNG label map, expected 8 bits"),
        (saved(Image.fromarray(GREY), "JPEG"), "label map as JPEG"),
        (made_png(rows_of(np.zeros((12, 40), np.uint8)), color_type=0), "incomplete PNG: 492 of 984 bytes"),
        (b"", "empty file"),
    ],
)
def test_a_label_map_of_another_kind_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=f"label.png: {sentence}"):
        read_label(write_label(tmp_path, data), load_classes("cityscapes"))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: cannot be read \(No such file or directory\)"):
        read_label(Label(Resource(str(tmp_path), "gone.png", 9)), load_classes("camvid"))


@pytest.mark.parametrize("array", [FRAME, GREY, FRAME[::2, ::-1]])
def test_encoding_loses_nothing(array: np.ndarray) -> None:
    data = encode_png(array)
    check_encoded(data, WHERE)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(data))), array)


def test_encoding_refuses_other_arrays() -> None:
    with pytest.raises(ValueError, match=r"expected \[H,W\] or \[H,W,3\] uint8, found \[24, 40, 3\] float64"):
        encode_png(FRAME / 255)


def test_an_archived_image_is_not_unpacked_before_its_header_is_known(tmp_path: Path) -> None:
    bomb = png_of(np.zeros((8, 8), np.uint8)) + bytes(200 << 20)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("zeros.png", bytes(200 << 20))
        archive.writestr("bomb.png", bomb)
    del bomb
    tree = Tree(tmp_path)
    tracemalloc.start()
    for name, sentence in (
        ("zeros.png", "neither PNG nor JPEG"),
        ("bomb.png", r"2097\d+ bytes for 8x8 pixels, expected at most 67109440; is it an image"),
    ):
        resource = tree.resource(name)
        with pytest.raises(InputError, match=rf"{name}: {sentence}"):
            read_image(resource)
        with pytest.raises(InputError, match=rf"{name}: {sentence}"):
            read_label(Label(resource), load_classes("camvid"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20


def test_a_member_that_its_archive_does_not_hold_as_a_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"PK\3\4" + bytes(22) + b"\5\0\0\0a.png" + bytes(60))
    member = ArchiveMember("all.zip", 0, 1 << 62, False, 0)
    with pytest.raises(InputError, match="the archive has changed or is damaged: it ends before this member does"):
        Resource(str(tmp_path), "a.png", 1 << 62, member).read()
