"""Masks from elsewhere: found by key, read from both forms, the smaller above the larger; anything else is refused."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_masks

from propagate.data import masks as module
from propagate.data.masks import MaskDirectory, read_masks
from propagate.errors import DatasetError, InputError

SIZE = (12, 20)


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


BIG, SMALL = box(2, 2, 10, 14), box(4, 8, 8, 18)


def compressed(mask: np.ndarray) -> dict[str, Any]:
    runs = coco_masks.encode(np.asfortranarray(mask, np.uint8))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


def listed(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[False], mask.T.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(SIZE), "counts": np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()}


def read(folder: Path, content: Any, size: tuple[int, int] = SIZE) -> np.ndarray:
    (folder / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_of(folder, size)


def read_of(folder: Path, size: tuple[int, int] = SIZE) -> np.ndarray:
    resource = MaskDirectory(folder).find("a")
    assert resource is not None
    return read_masks(resource, size)


def write_png(folder: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(folder / "a.png"), image)


@pytest.mark.parametrize("form", [compressed, listed, lambda mask: {"segmentation": compressed(mask), "area": 9}])
@pytest.mark.parametrize("order", [(BIG, SMALL), (SMALL, BIG)])
def test_the_smaller_of_masks_that_overlap_has_the_pixels(tmp_path: Path, form: Any, order: Any) -> None:
    found = read(tmp_path, [form(mask) for mask in order])
    expected = np.where(SMALL, 2, np.where(BIG, 1, 0))
    assert found.dtype == np.int32
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("dtype", "ids"), [(np.uint8, (7, 255)), (np.uint16, (7, 65535))])
def test_numbers_of_a_png_are_counted_anew(tmp_path: Path, dtype: Any, ids: tuple[int, int]) -> None:
    image = np.zeros(SIZE, dtype)
    image[BIG], image[SMALL] = ids
    write_png(tmp_path, image)
    assert np.array_equal(read_of(tmp_path), np.where(SMALL, 2, np.where(BIG, 1, 0)))


def test_a_frame_without_masks_has_none_anywhere(tmp_path: Path) -> None:
    assert not read(tmp_path, []).any()
    (tmp_path / "a.json").unlink()
    write_png(tmp_path, np.full(SIZE, 3, np.uint8))
    assert (read_of(tmp_path) == 1).all()


def test_files_are_found_by_key_in_any_folder(tmp_path: Path) -> None:
    for name in ("deep/er/a.png", "x/b.json", "y/b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"[]")
    directory = MaskDirectory(tmp_path)
    assert directory.find("c") is None
    found, of_folder = directory.find("a"), directory.find("x/b")
    assert found is not None
    assert of_folder is not None
    assert (found.name, found.size, of_folder.name) == ("deep/er/a.png", 2, "x/b.json")
    with pytest.raises(DatasetError, match="two files of masks for b"):
        directory.find("b")
    with pytest.raises(DatasetError, match="no such directory; --masks takes"):
        MaskDirectory(tmp_path / "gone")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "nested too deeply"),
        ({"size": [12, 20]}, "expected a list of masks as COCO's runs"),
        ([3], "mask 0 is 3, expected COCO's runs, an object of size and counts"),
        ([{"size": [12, 20]}], "mask 0: the runs: counts is missing, expected a text or a list"),
        ([{"size": [12, 21], "counts": [252]}], r"mask 0: runs of the size \[12, 21\], of an image of \[12, 20\]"),
        ([{"size": [12, 20], "counts": [10**12]}], "mask 0: its runs cover 1000000000000 pixels, expected 240"),
        ([{"size": [12, 20], "counts": [480, -240]}], "its runs cover 240 pixels, expected 240"),
        ([{"size": [12, 20], "counts": [0.5]}], "counts holds what is no whole number"),
        ([{"size": [12, 20], "counts": "\u00ff"}], "its text of runs is none"),
        ([{"size": [10**9, 10**9], "counts": [10**18]}], "runs of the size"),
    ],
)
def test_what_is_no_list_of_runs_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as error:
        read(tmp_path, content)
    assert "a.json" in str(error.value)


def test_too_many_masks_and_too_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MASKS", 1)
    with pytest.raises(InputError, match="2 masks of one frame, expected at most 1"):
        read(tmp_path, [listed(BIG), listed(SMALL)])
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="more than 10 bytes of masks of one frame"):
        read(tmp_path, [listed(BIG)])


def test_another_size_or_form_of_a_png_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path, np.zeros((20, 12), np.uint8))
    with pytest.raises(InputError, match="masks of 20x12, of a frame of 12x20"):
        read_of(tmp_path)
    write_png(tmp_path, np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(InputError, match="8-bit RGB PNG of masks, expected a PNG with one channel of 8 or 16 bits"):
        read_of(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="PNG"):
        read_of(tmp_path)
