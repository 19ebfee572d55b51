"""The directory at the end of a zip file: which files it holds, and where.

The frames of Cityscapes are 150,000 members, and an object for each would take 100 MB. Kept are the directory's own
bytes, 20 MB, and of each member where its record lies in them.

Reference: PKWARE's APPNOTE.TXT, sections 4.3.12 to 4.3.16, 4.4.4 and 4.5.3.
"""

import os
import struct
from array import array
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from jobs.files import open_regular

_RECORD = struct.Struct("<4s4xHH4xIIIHHH8xI")
_END = struct.Struct("<4s8xIIH")
_LOCATOR_64 = struct.Struct("<4s16x")
_END_64 = struct.Struct("<4s36xQQ")
_LONGEST_COMMENT = (1 << 16) - 1
_ELSEWHERE = (1 << 32) - 1  # in place of a number that lies in the record's field of 64-bit numbers
_FIELD_64 = 1
_UTF8 = 0x800  # a flag: else names are in code page 437


class ZipMember(NamedTuple):
    """What the directory says of a file; sizes, and the offset of its local header, in bytes."""

    name: str
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    offset: int


class ZipDirectory:
    """The records of a zip file; `positions` are where each lies, in their order. What lies before the zip file, such
    as a program that unpacks it, is allowed for.

    Raises: OSError; ValueError where there is no whole directory.
    """

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            begin, size, self._num_before = _place(file)
            file.seek(begin)
            self._records = file.read(size)
        self.positions = array("L")
        position = 0
        while position < size:
            self.positions.append(position)
            _, _, _, _, _, name, extra, comment, _ = self._fields(position)
            position += _RECORD.size + name + extra + comment
        if position != size:
            raise ValueError("its directory ends within a record")

    def place(self, position: int) -> tuple[bytes, bool]:
        """The name of the folder that the file of the record at a position lies in, undecoded, and whether in UTF-8."""
        flags, _, _, _, _, length, _, _, _ = self._fields(position)
        begin = position + _RECORD.size
        end = max(begin, self._records.rfind(b"/", begin, begin + length))
        return self._records[begin:end], bool(flags & _UTF8)

    def member(self, position: int) -> ZipMember:
        """The record at a position. Raises: ValueError for a damaged one."""
        flags, method, crc, packed_size, size, name, extra, _, offset = self._fields(position)
        begin = position + _RECORD.size
        encoded, fields = self._records[begin : begin + name], self._records[begin + name : begin + name + extra]
        large = _large_numbers(fields, [size, packed_size, offset].count(_ELSEWHERE))
        size, packed_size, offset = (large.pop(0) if n == _ELSEWHERE else n for n in (size, packed_size, offset))
        return ZipMember(
            decoded(encoded, bool(flags & _UTF8)), flags, method, crc, packed_size, size, self._num_before + offset
        )

    def _fields(self, position: int) -> tuple[int, ...]:
        if position + _RECORD.size > len(self._records):
            raise ValueError("its directory ends within a record")
        signature, *fields = _RECORD.unpack_from(self._records, position)
        if signature != b"PK\1\2":
            raise ValueError("its directory is damaged")
        return tuple(fields)


def decoded(name: bytes, is_utf8: bool) -> str:
    """Raises: ValueError."""
    return name.decode("utf-8" if is_utf8 else "cp437")


def _place(file: BufferedReader) -> tuple[int, int, int]:
    """Where the directory begins, its size, and how many bytes lie before the zip file."""
    length = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, length - _END.size - _LONGEST_COMMENT))
    tail = file.read()
    found = tail.rfind(b"PK\5\6")
    if found < 0 or len(tail) < found + _END.size:
        raise ValueError("no directory at its end")
    _, size, offset, _ = _END.unpack_from(tail, found)
    end = start + found
    before = found - _LOCATOR_64.size - _END_64.size
    if before >= 0 and tail.startswith(b"PK\6\7", found - _LOCATOR_64.size) and tail.startswith(b"PK\6\6", before):
        _, size, offset = _END_64.unpack_from(tail, before)
        end = start + before
    if offset + size > end:
        raise ValueError("its directory does not fit in it")
    return end - size, size, end - size - offset


def _large_numbers(fields: bytes, num_wanted: int) -> list[int]:
    """The first 64-bit numbers in a record's extra fields. Raises: ValueError."""
    while num_wanted and len(fields) >= 4:
        kind, size = struct.unpack_from("<HH", fields)
        if kind == _FIELD_64 and 8 * num_wanted <= min(size, len(fields) - 4):
            return list(struct.unpack_from(f"<{num_wanted}Q", fields, 4))
        fields = fields[4 + size :]
    if num_wanted:
        raise ValueError("its directory is damaged: a record without its 64-bit numbers")
    return []
