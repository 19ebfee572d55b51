"""One tree of names, from folders and zip files."""

import os
import pickle
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from propagate.data.clip import Resource
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError, InputError

Plant = Callable[..., Path]


def test_folders_and_zip_files_are_one_tree(plant: Plant) -> None:
    plant(["train/aachen/a.png", "train/aachen/both.png"])
    root = plant(["train/aachen/b.png", "train/aachen/both.png", "train/bochum/c.png", "x/y/z/d.png"], "all.zip")
    tree = Tree(root)
    assert tree.folders("") == ["train", "x"]
    assert tree.folders("train") == ["aachen", "bochum"]
    assert tree.folders("x/y") == ["z"]
    assert tree.files("train/aachen") == ["a.png", "b.png", "both.png"]
    assert tree.files("nowhere") == tree.folders("nowhere") == []
    plain, archived = tree.resource("train/aachen/both.png"), tree.resource("train/aachen/b.png")
    assert plain.member is None
    assert plain.read() == b"train/aachen/both.png"
    assert archived.read() == b"train/aachen/b.png"
    assert archived.read(5) == b"train"
    assert plain.read(5) == b"train"
    assert str(archived) == f"{root}/all.zip!train/aachen/b.png"


def test_a_name_in_several_zip_files_is_that_of_the_first(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("train/x.png", f"of {name}")
    assert Tree(tmp_path).resource("train/x.png").read() == b"of a"


def test_identity_knows_content_but_not_the_place(plant: Plant) -> None:
    tree = Tree(plant(["a/x.png"], "one.zip"))
    name, size, crc = tree.resource("a/x.png").identity
    assert (name, size) == ("a/x.png", 7)
    assert crc == zipfile.crc32(b"a/x.png")  # type: ignore[attr-defined]
    assert Resource("elsewhere", "a/x.png", 7).identity == ("a/x.png", 7, None)


def test_stored_members_and_archives_behind_other_bytes_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("a/stored.png", b"stored" * 99)
        archive.writestr("a/empty.png", b"")
    behind = tmp_path / "behind.zip"
    behind.write_bytes(b"#!/bin/sh\n" + (tmp_path / "plain.zip").read_bytes())
    (tmp_path / "plain.zip").unlink()
    tree = Tree(tmp_path)
    assert tree.resource("a/stored.png").read() == b"stored" * 99
    assert tree.resource("a/stored.png").read(3) == b"sto"
    assert tree.resource("a/empty.png").read() == b""


def test_hidden_names_and_other_zip_files_are_passed_over(plant: Plant) -> None:
    plant(["a/._x.png", "a/x.png", ".git/y.png"])
    plant(["__MACOSX/a/._z.png", "a/.z.png"], "all.zip")
    root = plant(["a/other.png"], "other.zip")
    tree = Tree(root, archives=("all*.zip",))
    assert tree.files("a") == ["x.png"]
    assert tree.folders("") == ["__MACOSX", "a"]


def test_only_what_is_asked_for_is_listed(plant: Plant, listed_folders: list[str]) -> None:
    root = plant(["a/b/x.png", "c/y.png", "d/z.png"])
    assert Tree(root).files("a/b") == ["x.png"]
    assert set(listed_folders) == {str(root), str(root / "a/b")}


def _read_all(resources: list[Resource]) -> bool:
    return all(resource.read() == (resource.name * 500).encode() for resource in resources)


def test_members_are_read_across_threads_forks_and_pickles(tmp_path: Path) -> None:
    names = [f"a/{i}.png" for i in range(100)]
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, name * 500)
    tree = Tree(tmp_path)
    resources = [tree.resource(name) for name in names]
    assert len(pickle.dumps(resources)) < 20_000
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(_read_all, [resources] * 4))
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:
        assert all(processes.map(_read_all, [resources] * 4))


def test_a_relative_root_is_read_from_any_working_directory(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plant(["set/a/x.png"]))
    resource = Tree(Path("set")).resource("a/x.png")
    monkeypatch.chdir("/")
    assert resource.read() == b"set/a/x.png"


def test_a_root_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/gone: no such folder; the root must be"):
        Tree(tmp_path / "gone")
    with pytest.raises(DatasetError, match=rf"^{tmp_path}: an empty folder; the root must hold"):
        Tree(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match=r"/file: not a folder; the root must be"):
        Tree(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_named(plant: Plant) -> None:
    root = plant(["a/x.png"])
    (root / "a").chmod(0)
    with pytest.raises(DatasetError, match=r"/a: cannot be listed \(Permission denied\)"):
        Tree(root).files("a")


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_broken_zip_file_is_named(plant: Plant, damage: str) -> None:
    root = plant(["a/x.png", "a/y.png"], "all.zip")
    path = root / "all.zip"
    path.write_bytes({"truncated": path.read_bytes()[:-30], "text": b"not found", "empty": b""}[damage])
    with pytest.raises(DatasetError, match=r"/all\.zip: not a whole zip file \(.*\); download it again, or move it"):
        Tree(root).files("a")


def test_other_compression_and_encryption_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/x.png", b"x")
    with pytest.raises(DatasetError, match=r"all\.zip!a/x\.png: compressed by method 14; only stored or deflated"):
        Tree(tmp_path).resource("a/x.png")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a/x.png", b"x")
        archive.infolist()[0].flag_bits |= 1
    with pytest.raises(DatasetError, match=r"all\.zip!a/x\.png: encrypted; only stored or deflated"):
        Tree(tmp_path).resource("a/x.png")


def test_damage_within_an_archive_fails_only_what_it_hits(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a/hit.png", os.urandom(1000))
            archive.writestr("a/well.png", b"well")
        tree = Tree(tmp_path)
        hit, well = tree.resource("a/hit.png"), tree.resource("a/well.png")
        data = bytearray(path.read_bytes())
        data[500] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"^{path}!a/hit\.png: cannot be read \(damaged .*CRC-32"):
            hit.read()
        assert well.read() == b"well"
        assert well.member is not None
        data[well.member.offset] ^= 1
        for changed in (data, data[:20]):
            path.write_bytes(changed)
            with pytest.raises(InputError, match=r"well\.png: cannot be read \(the archive has changed or is damaged"):
                well.read()


def test_a_dangling_link_fails_when_it_is_read(plant: Plant) -> None:
    root = plant(["a/x.png"])
    (root / "a/link.png").symlink_to(root / "gone.png")
    tree = Tree(root)
    assert tree.files("a") == ["link.png", "x.png"]
    with pytest.raises(InputError, match=r"link\.png: cannot be read \(No such file or directory\)"):
        tree.resource("a/link.png").read()


def test_a_pipe_that_is_called_a_zip_file_or_an_image_is_named_not_waited_for(plant: Plant) -> None:
    root = plant(["a/x.png"])
    os.mkfifo(root / "a" / "pipe.png")
    with pytest.raises(InputError, match=r"a/pipe\.png: cannot be read \(no regular file, but a pipe"):
        Tree(root).resource("a/pipe.png").read()
    os.mkfifo(root / "all.zip")
    with pytest.raises(DatasetError, match=r"all\.zip: not a whole zip file \(no regular file, but a pipe"):
        Tree(root).files("a")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_file_that_holds_a_name_twice_is_refused(plant: Plant) -> None:
    root = plant(["a/x.png", "b/", "b/", "a/y.png", "a/.z", "a/.z"], "all.zip")
    plant(["a/x.png"], "more.zip")
    assert Tree(root).files("a") == ["x.png", "y.png"]
    plant(["a/x.png"], "all.zip")
    with pytest.raises(DatasetError, match=r"all\.zip: holds a/x\.png twice; extract it here, which keeps the last"):
        Tree(root).files("a")
