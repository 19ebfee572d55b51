"""Files that are there whole or not at all, whatever happens while they are written."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from jobs.files import open_regular, partial_names, remove_leftovers, whole_file, whole_folder, write_new, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_is_replaced_and_nothing_lies_beside_it(tmp_path: Path, synced: bool) -> None:
    path = tmp_path / "state"
    for content in (b"old", memoryview(b"new")):
        write_whole(path, content, synced=synced)
        assert path.read_bytes() == content
    assert names(tmp_path) == ["state"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("bad")])
def test_what_stops_the_writing_leaves_the_former_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def stopped() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        stopped()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state"]


def test_a_disk_that_does_not_keep_it_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert names(tmp_path) == ["state"]
    assert path.read_bytes() == b"old"
    write_whole(path, b"new", synced=False)
    assert path.read_bytes() == b"new"


def test_two_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with whole_file(path) as first, whole_file(path) as second:
        first.write(b"first")
        second.write(b"second")
        assert not path.exists()
    assert path.read_bytes() == b"first"  # which was left last
    assert names(tmp_path) == ["state"]


def test_a_zip_can_be_written_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with whole_file(path) as file, ZipFile(file, "w") as archive:
        archive.writestr("one", b"1")
        archive.writestr("two", b"2")
        assert not path.exists()
    assert ZipFile(path).namelist() == ["one", "two"]


def test_what_a_killed_process_leaves_is_known_by_its_name(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom jobs.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path / "state.pt")], check=False)
    assert process.returncode == -signal.SIGKILL
    (tmp_path / ".state.pt.partial").touch()  # of an earlier version
    assert len(names(tmp_path)) == 2
    for pattern in (partial_names("state.pt"), partial_names("*.pt")):
        assert sorted(path.name for path in tmp_path.glob(pattern)) == names(tmp_path)
    assert not list(tmp_path.glob(partial_names("other.pt")))


@pytest.mark.parametrize("synced", [True, False])
def test_the_folder_is_synced_once_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: bool
) -> None:
    seen: list[tuple[str, list[str]]] = []

    def spy(number: int) -> None:
        seen.append((str(Path(f"/proc/self/fd/{number}").readlink()), names(tmp_path)))

    monkeypatch.setattr(os, "fsync", spy)
    write_whole(tmp_path / "state", b"new", synced=synced)
    assert seen[1:] == ([(str(tmp_path), ["state"])] if synced else [])


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"here")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"here"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file, but a pipe, a socket or a device"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


def test_folders_are_no_leftovers(tmp_path: Path) -> None:
    for name in (".a.1.partial", ".b.1.partial"):
        (tmp_path / name).touch()
    (tmp_path / ".c.1.partial").mkdir()
    (tmp_path / ".d.1.partial").symlink_to(tmp_path)
    remove_leftovers(tmp_path, [partial_names("a"), partial_names("[cd]")])
    assert names(tmp_path) == [".b.1.partial", ".c.1.partial"]


def test_a_folder_takes_the_place_of_none_or_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "deep/new"):
        with whole_folder(tmp_path / name) as folder:
            (folder / "state").write_text(name)
            assert not (tmp_path / name / "state").exists()
        assert (tmp_path / name / "state").read_text() == name
    assert names(tmp_path) == ["deep", "empty", "new"]


def test_a_folder_that_is_stopped_or_in_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/state").write_text("old")

    def fill(error: BaseException | None) -> None:
        with whole_folder(tmp_path / "full") as folder:
            (folder / "state").write_text("new")
            if error is not None:
                raise error

    for error, expected in ((None, OSError), (KeyboardInterrupt(), KeyboardInterrupt), (ValueError(), ValueError)):
        with pytest.raises(expected):
            fill(error)
        assert names(tmp_path) == ["full"]
        assert (tmp_path / "full/state").read_text() == "old"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_takes_no_other_ones_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    write_new(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert names(tmp_path) == ["file"]
