"""Damage to inputs, drawn by a seed: what discs, networks, editors and people do to files."""

import random
import struct
import zlib
from collections.abc import Callable

Mutation = Callable[[random.Random, bytes], bytes]
Damage = Callable[[bytes], bytes]
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\1\0\0\0")
LAUGHS = (
    "[&a [x,x,x,x,x,x,x,x,x]"
    + "".join(f", &{new} [{','.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    + "]"
).encode()  # 9^10 values
_STRANGE_YAML = (
    *("null", "[]", "{}", "''", "-1", "1e999", ".nan", "-.inf", "true", "0x", "1_0", "2001-13-45", "9" * 5000, "~"),
    *("!!python/object/apply:os.system [x]", "!!binary x", "!!set {a}", "*gone", "&a [*a]", "{? [a] : b}", "<<: 3"),
    *("../../x", "/etc/passwd", "a\tb", "日本", "\u202e", "\ufeff", "\x00", "[" * 3000, "{a: " * 1000, "|\n  x\n y"),
    LAUGHS.decode(),
)


def of_size(width: int, height: int) -> Damage:
    """A PNG that says it has this size, under a right checksum."""

    def damage(data: bytes) -> bytes:
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]

    return damage


def _flipped(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data))]


def _emptied(draw: random.Random, data: bytes) -> bytes:
    start, stop = _part(draw, data)
    return data[:start] + bytes(stop - start) + data[stop:]


def _lost(draw: random.Random, data: bytes) -> bytes:
    start, stop = _part(draw, data)
    return data[:start] + data[stop:]


def _doubled(draw: random.Random, data: bytes) -> bytes:
    start, stop = _part(draw, data)
    return data[:stop] + data[start:]


def _inserted(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.randbytes(draw.choice((1, 4, 100))) + data[at:]


def _overwritten(draw: random.Random, data: bytes) -> bytes:
    """An extreme number where, mostly, headers have theirs."""
    at = draw.randrange(min(len(data), draw.choice((64, 64, len(data)))))
    return data[:at] + draw.choice(_EXTREMES) + data[at + 4 :]


def _replaced(draw: random.Random, data: bytes) -> bytes:
    return draw.choice((b"", b"\0" * len(data), draw.randbytes(len(data)), b"<html>404</html>", data[::-1]))


BYTES: tuple[Mutation, ...] = (
    *(_flipped, _flipped, _cut, _cut, _emptied, _lost, _doubled, _inserted, _overwritten, _overwritten, _replaced),
)


def _another_value(draw: random.Random, data: bytes) -> bytes:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    at = draw.randrange(len(lines))
    name, colon, _ = lines[at].partition(": ")
    lines[at] = name + (colon or ": ") + draw.choice(_STRANGE_YAML)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _lines_moved(draw: random.Random, data: bytes) -> bytes:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    at = draw.randrange(len(lines))
    moved = draw.choice(([], [lines[at]] * 2, ["  " + lines[at]], ["\t" + lines[at]], [lines[at].swapcase()]))
    return "\n".join([*lines[:at], *moved, *lines[at + 1 :]]).encode("utf-8", "surrogateescape")


TEXT: tuple[Mutation, ...] = (*([_another_value] * 6), _lines_moved, _lines_moved, *BYTES[::2])


def _part(draw: random.Random, data: bytes) -> tuple[int, int]:
    start = draw.randrange(len(data))
    return start, min(len(data), start + draw.choice((1, 2, 16, 256, len(data))))


def mutated(kind: str, number: int, data: bytes, mutations: tuple[Mutation, ...]) -> bytes:
    """The input of that number: the same for the same names and data."""
    draw = random.Random(f"{kind} {number}")
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(mutations)(draw, data or b"\0")
    return data
