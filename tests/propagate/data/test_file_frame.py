"""Frames that are files say of themselves what their files do, and are small enough to be sent about."""

import pickle
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from propagate.data.clip import ArchiveMember, Frame, Resource
from propagate.data.file_frame import FileFrame
from propagate.data.images import encode_png
from propagate.datasets.tree import Tree
from propagate.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
FILE = encode_png(PIXELS)


@pytest.fixture(params=["plain", "archived"])
def frame(request: pytest.FixtureRequest, tmp_path: Path) -> Frame:
    if request.param == "plain":
        (tmp_path / "seq").mkdir()
        (tmp_path / "seq" / "a.png").write_bytes(FILE)
    else:
        with ZipFile(tmp_path / "frames.zip", "w") as archive:
            archive.writestr("seq/a.png", FILE)
    return FileFrame("a", Tree(tmp_path).resource("seq/a.png"))


def test_a_file_gives_its_bytes_its_pixels_and_its_size(frame: Frame) -> None:
    assert frame.encoded() == FILE
    np.testing.assert_array_equal(frame.pixels(), PIXELS)
    assert frame.size() == (24, 40)


def test_a_frame_that_was_sent_is_the_same_and_was_small(frame: Frame) -> None:
    sent = pickle.dumps(frame)
    assert len(sent) < 500
    received = pickle.loads(sent)
    assert received == frame
    np.testing.assert_array_equal(received.pixels(), PIXELS)


def test_its_identity_is_that_of_the_file_wherever_the_root_lies() -> None:
    member = ArchiveMember("frames.zip", 40, 8, True, 77)
    assert FileFrame("a", Resource("/here", "seq/a.png", 9)).identity == ("seq/a.png", 9, None)
    assert FileFrame("a", Resource("/there", "seq/a.png", 9, member)).identity == ("seq/a.png", 9, 77)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    gone = FileFrame("a", Resource(str(tmp_path), "seq/a.png", 9))
    assert gone.where == str(tmp_path / "seq" / "a.png")
    for read in (gone.size, gone.pixels, gone.encoded):
        with pytest.raises(InputError, match=r"seq/a\.png: cannot be read \(No such file or directory\)"):
            read()
    (tmp_path / "seq").mkdir()
    (tmp_path / "seq" / "a.png").write_bytes(FILE[:100])
    assert gone.size() == (24, 40)
    with pytest.raises(InputError, match=r"seq/a\.png: truncated PNG"):
        gone.pixels()
