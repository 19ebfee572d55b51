"""The directory of a zip file, against what Python's own module says of it."""

import struct
import zipfile
from pathlib import Path

import pytest

from propagate.datasets.zip_directory import ZipDirectory, ZipMember, decoded

FAR = 5 << 30  # beyond what 32 bits hold


def members(path: Path) -> list[ZipMember]:
    directory = ZipDirectory(path)
    return [directory.member(position) for position in directory.positions]


def members_by_zipfile(path: Path) -> list[ZipMember]:
    with zipfile.ZipFile(path) as archive:
        return [
            ZipMember(
                info.filename,
                info.flag_bits,
                info.compress_type,
                info.CRC,
                info.compress_size,
                info.file_size,
                info.header_offset,
            )
            for info in archive.infolist()
        ]


def write_zip(path: Path, *, mode: str = "w") -> Path:
    with zipfile.ZipFile(path, mode, zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.comment = b"a comment with a PK\1\2 in it"
        archive.writestr("a/", b"")
        archive.writestr("a/plain.png", b"plain" * 99)
        archive.writestr("日本/straße.png", b"")
        archive.writestr("top.png", b"top", zipfile.ZIP_STORED)
        with_more = zipfile.ZipInfo("a/b/with more.png")
        with_more.extra, with_more.comment = struct.pack("<HH3s", 0x7777, 3, b"xyz"), b"of one member"
        archive.writestr(with_more, b"more")
    return path


def test_members_are_those_that_zipfile_knows(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip")
    assert members(path) == members_by_zipfile(path)
    assert len(members(path)) == 5
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert members(path) == members_by_zipfile(path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert members(path) == []


def test_names_of_old_archives_are_in_code_page_437(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip")
    path.write_bytes(path.read_bytes().replace(b"plain.png", b"pl\x84in.png"))
    assert members(path)[1].name == "a/pläin.png"
    assert members(path) == members_by_zipfile(path)


def test_places_are_the_folders_of_names(tmp_path: Path) -> None:
    directory = ZipDirectory(write_zip(tmp_path / "x.zip"))
    places = [decoded(*directory.place(position)) for position in directory.positions]
    assert places == ["a", "a", "日本", "", "a/b"]


def test_members_beyond_4_gib_are_found(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with path.open("wb") as file:
        file.truncate(FAR)  # takes no room
    write_zip(path, mode="a")
    assert [member.offset >= FAR for member in members(path)] == [True] * 5
    assert members(path) == members_by_zipfile(path)


@pytest.mark.parametrize("end", [b"PK\5\6", b"PK\1\2"])
def test_no_directory_is_said_so(tmp_path: Path, end: bytes) -> None:
    path = write_zip(tmp_path / "x.zip")
    data = path.read_bytes()
    path.write_bytes(data.replace(end, b"PK\0\0"))
    with pytest.raises(ValueError, match=r"no directory at its end|its directory is damaged"):
        ZipDirectory(path)


def test_a_directory_of_another_size_is_damaged(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip")
    data = path.read_bytes()
    size_at = data.rfind(b"PK\5\6") + 12
    size = int.from_bytes(data[size_at : size_at + 4], "little")
    for wrong, found in ((size - 7, "damaged"), (size - 90, "damaged"), (1 << 31, "does not fit in it")):
        path.write_bytes(data[:size_at] + wrong.to_bytes(4, "little") + data[size_at + 4 :])
        with pytest.raises(ValueError, match=rf"its directory.*{found}|within a record"):
            ZipDirectory(path)
