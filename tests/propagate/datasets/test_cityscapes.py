"""The Cityscapes layout: nestings, zip files, snippets and their holes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from propagate.data.clip import Clip
from propagate.datasets.base import DatasetOptions
from propagate.datasets.cityscapes import Cityscapes
from propagate.datasets.registry import open_dataset
from propagate.errors import DatasetError

Plant = Callable[..., Path]
KeysByOffset = Callable[[Clip], dict[int, str]]
DATA = Path(os.environ.get("PROPAGATE_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))


def frames(numbers: range | list[int], *, city: str = "aachen", top: str = "leftImg8bit_sequence/") -> list[str]:
    return [f"{top}train/{city}/{city}_000000_{n:06d}_leftImg8bit.png" for n in numbers]


def label(number: int = 19, *, city: str = "aachen", top: str = "gtFine/", ids: str = "labelIds") -> str:
    return f"{top}train/{city}/{city}_000000_{number:06d}_gtFine_{ids}.png"


def open_at(root: Path, split: str = "train") -> Cityscapes:
    return Cityscapes(DatasetOptions(root=root, split=split))


def offsets(clip: Clip) -> list[int]:
    return list(clip.frames)


@pytest.mark.parametrize(
    ("frame_top", "frame_zip"),
    [
        ("leftImg8bit_sequence/", None),
        ("leftImg8bit/", None),
        ("leftImg8bit_sequence_trainvaltest/leftImg8bit_sequence/", None),
        ("leftImg8bit_trainvaltest/leftImg8bit/", None),
        ("leftImg8bit_trainvaltest/leftImg8bit_sequence/", None),
        ("leftImg8bit_sequence/", "leftImg8bit_sequence_trainvaltest.zip"),
        ("leftImg8bit/", "leftImg8bit_trainvaltest.zip"),
    ],
)
@pytest.mark.parametrize(
    ("label_top", "label_zip"),
    [("gtFine/", None), ("gtFine_trainvaltest/gtFine/", None), ("gtFine/", "gtFine_trainvaltest.zip")],
)
def test_every_nesting_and_zip_file_gives_the_same_clip(
    plant: Plant,
    keys_by_offset: KeysByOffset,
    frame_top: str,
    frame_zip: str | None,
    label_top: str,
    label_zip: str | None,
) -> None:
    plant(frames(range(30), top=frame_top), frame_zip)
    root = plant([label(top=label_top)], label_zip)
    [clip] = open_at(root).clips(3)
    assert (clip.key, clip.split, clip.group) == ("aachen_000000_000019", "train", "aachen")
    assert keys_by_offset(clip) == {k: f"aachen_000000_{19 + k:06d}" for k in range(-3, 4)}
    assert not clip.missing
    assert clip.frames[-3].image.read().decode() == frames([16], top=frame_top)[0]
    assert clip.label.resource.read().decode() == label(top=label_top)
    assert clip.label.holds == "label_ids"


def test_sequence_frames_win(plant: Plant) -> None:
    plant(frames([19], top="leftImg8bit/"))
    plant([label()])
    root = plant(frames([18, 19, 20]), "leftImg8bit_sequence_trainvaltest.zip")
    [clip] = open_at(root).clips(1)
    assert {frame.image.name.split("/")[0] for frame in clip.frames.values()} == {"leftImg8bit_sequence"}


def test_train_ids_serve_where_only_they_exist(plant: Plant) -> None:
    plant(frames([19, 49]))
    root = plant([label(19, ids="labelTrainIds"), label(49, ids="labelTrainIds"), label(49), label(49, ids="color")])
    assert [clip.label.holds for clip in open_at(root).clips(0)] == ["train_ids", "label_ids"]


def test_clips_are_sorted_and_the_same_again(plant: Plant) -> None:
    for city in ("zurich", "aachen", "bad_ems"):
        plant(frames([19, 49], city=city))
        root = plant([label(49, city=city), label(19, city=city)])
    clips = open_at(root).clips(1)
    assert [clip.key for clip in clips] == sorted(clip.key for clip in clips)
    assert [clip.group for clip in clips] == ["aachen"] * 2 + ["bad_ems"] * 2 + ["zurich"] * 2
    assert clips == open_at(root).clips(1)


def test_the_end_of_a_snippet_only_shortens_the_clip(plant: Plant) -> None:
    plant(frames(range(17, 22)))
    root = plant([label()])
    [clip] = open_at(root).clips(5)
    assert offsets(clip) == [-2, -1, 0, 1, 2]
    assert not clip.missing


@pytest.mark.parametrize("archive", [None, "leftImg8bit_sequence_trainvaltest.zip"])
def test_a_hole_in_a_snippet_is_a_missing_frame(plant: Plant, archive: str | None) -> None:
    plant(frames([n for n in range(30) if n not in (17, 18, 22)]), archive)
    root = plant([label()])
    [clip] = open_at(root).clips(5)
    assert offsets(clip) == [0, 1, 2]
    where = f"{root}/{archive}!" if archive else f"{root}/"
    assert clip.missing == {
        offset: f"{where}{frames([number])[0]}: this frame is missing, though aachen_000000_{beyond:06d}, farther "
        "out, is there; add it"
        for offset, number, beyond in ((-1, 18, 16), (3, 22, 23))
    }


def test_a_hole_beyond_the_neighbours_asked_for_is_not_missed(plant: Plant) -> None:
    plant(frames([n for n in range(30) if n != 22]))
    root = plant([label()])
    [clip] = open_at(root).clips(2)
    assert not clip.missing


def test_gaps_between_the_snippets_of_one_sequence_are_normal(plant: Plant) -> None:
    """As in hamburg: (0, 29) around 19, the next snippet begins right outside the window of the first."""
    plant(frames([*range(17, 22), *range(30, 60), *range(400, 430)]))
    root = plant([label(19), label(49), label(419)])
    first, second, third = open_at(root).clips(15)
    assert offsets(first) == [-2, -1, 0, 1, 2]
    assert offsets(second) == list(range(-15, 11))
    assert offsets(third) == list(range(-15, 11))
    assert not any(clip.missing for clip in (first, second, third))


def test_the_window_ends_at_19_before_and_10_after(plant: Plant) -> None:
    plant(frames([0, 19, 29, 99, 119, 130, 200, 220]))
    root = plant([label(19), label(119), label(220)])
    near, after, before = open_at(root).clips(1)
    assert sorted(near.missing) == [-1, 1]  # 0 and 29 are in the window
    assert not after.missing  # 99 is 20 before, 130 is 11 after
    assert not before.missing


def test_a_label_without_its_frame_is_a_clip_that_fails(plant: Plant) -> None:
    plant(frames([*range(19), *range(20, 30), 49]))
    root = plant([label(19), label(49)])
    lost, kept = open_at(root).clips(3)
    assert (lost.key, lost.frames) == ("aachen_000000_000019", {})
    assert lost.missing == {
        0: f"{root}/{label(19)}: its frame aachen_000000_000019 is missing; add the frame, or remove the label"
    }
    assert offsets(kept) == [0]


def test_frames_of_cities_without_labels_are_not_even_listed(plant: Plant, listed_folders: list[str]) -> None:
    plant(frames([19]))
    plant(frames(range(30), city="bochum"))
    root = plant([label(), "disparity/train/aachen/x.png"])
    assert len(open_at(root).clips(5)) == 1
    assert not [folder for folder in listed_folders if "bochum" in folder or "disparity" in folder]


def test_labels_are_found_by_key_without_frames(plant: Plant) -> None:
    root = plant([label(19), label(20, ids="labelTrainIds")])
    found = open_at(root).labels([f"aachen_000000_{n:06d}" for n in (18, 19, 20)])
    assert {key: found_label.holds for key, found_label in found.items()} == {
        "aachen_000000_000019": "label_ids",
        "aachen_000000_000020": "train_ids",
    }


def test_one_key_in_two_cities_is_refused(plant: Plant) -> None:
    plant([name.replace("train/aachen", "train/copy") for name in (*frames([19]), label())])
    root = plant([*frames([19]), label()])
    with pytest.raises(DatasetError, match=r"/copy/aachen_000000_000019.*: names the same frame .* as .*/aachen/"):
        open_at(root).clips(1)


@pytest.mark.parametrize(
    ("names", "split", "sentence"),
    [
        (["readme.txt"], "train", r"no Cityscapes labels: neither gtFine/<split>/<city>/ nor gtFine_trainvaltest\.zip"),
        (frames([19]), "train", "no Cityscapes labels"),
        ([label(), "gtFine/val/x/y.png"], "test", "no labels of a split 'test'; there are labels of: train, val$"),
        ([label(ids="color")], "train", r"frames without labels: split 'train' holds no \*_gtFine_labelIds\.png"),
        ([label()], "train", "labels without frames: split 'train' has 1 label maps.* such as aachen_000000_000019"),
        (["gtFine/train/a/a_1_2_gtFine_labelIds.png"], "train", r"/a_1_2_gtFine_labelIds\.png: expected a name like"),
    ],
)
def test_a_root_that_cannot_be_used_is_refused(plant: Plant, names: list[str], split: str, sentence: str) -> None:
    root = plant(names)
    with pytest.raises(DatasetError, match=f"^{root}.*{sentence}"):
        open_at(root, split).clips(5)


def test_options_of_other_layouts_are_refused(plant: Plant) -> None:
    root = plant([label(), *frames([19])])
    with pytest.raises(DatasetError, match=r"layout\.yaml: the cityscapes layout takes no layout file"):
        open_dataset("cityscapes", DatasetOptions(root=root, layout=root / "layout.yaml"))
    with pytest.raises(DatasetError, match="the cityscapes layout takes no --max-gap"):
        open_dataset("cityscapes", DatasetOptions(root=root, max_gap=2))


TRAIN_CITIES = [
    "aachen",
    "bochum",
    "bremen",
    "cologne",
    "darmstadt",
    "dusseldorf",
    "erfurt",
    "hamburg",
    "hanover",
    "jena",
    "krefeld",
    "monchengladbach",
    "strasbourg",
    "stuttgart",
    "tubingen",
    "ulm",
    "weimar",
    "zurich",
]
VAL_CITIES = ["frankfurt", "lindau", "munster"]
HELD_OUT = {
    "cv0": VAL_CITIES,
    "cv1": ["darmstadt", "dusseldorf", "erfurt"],
    "cv2": ["monchengladbach", "strasbourg", "stuttgart"],
}


def plant_cities(plant: Plant, archive: str | None = None) -> Path:
    names = [name for city in TRAIN_CITIES for name in (*frames([18, 19], city=city), label(city=city))]
    in_val = [name for city in VAL_CITIES for name in (*frames([18, 19], city=city), label(city=city))]
    names += [name.replace("/train/", "/val/") for name in in_val]
    for kind in ("leftImg8bit", "gtFine"):
        root = plant([name for name in names if name.startswith(kind)], archive and f"{kind}_all.zip")
    return root


@pytest.mark.parametrize("archive", [None, "zip"])
def test_folds_hold_out_cities_of_train_and_val_together(plant: Plant, archive: str | None) -> None:
    root = plant_cities(plant, archive)
    held_out: list[str] = []
    for fold, cities in HELD_OUT.items():
        training, validation = (open_at(root, split).clips(1) for split in (fold, f"{fold}-val"))
        assert [clip.group for clip in validation] == cities
        assert [clip.group for clip in training] == sorted({*TRAIN_CITIES, *VAL_CITIES} - set(cities))
        assert {clip.split for clip in training} == {fold}
        assert all(offsets(clip) == [-1, 0] and not clip.missing for clip in (*training, *validation))
        held_out += cities
    assert len(set(held_out)) == 9


def test_the_first_fold_is_the_standard_split(plant: Plant) -> None:
    root = plant_cities(plant)
    for split, fold in (("train", "cv0"), ("val", "cv0-val")):
        standard, folded = open_at(root, split).clips(1), open_at(root, fold).clips(1)
        assert [(clip.frames, clip.label) for clip in folded] == [(clip.frames, clip.label) for clip in standard]
        assert open_at(root, fold).labels([standard[0].key]) == open_at(root, split).labels([standard[0].key])


def test_a_fold_without_its_validation_cities_is_not_there(plant: Plant) -> None:
    root = plant_cities(plant)
    for kind in ("gtFine", "leftImg8bit_sequence"):
        (root / kind / "train" / "erfurt").rename(root / kind / "train" / "lubeck")
    with pytest.raises(
        DatasetError, match=r"no labels of a split 'cv1'; there are labels of: train, val, cv0, cv0-val, cv2, cv2-val$"
    ):
        open_at(root, "cv1")


def coarse(number: int, split: str, *, ids: str = "labelIds") -> str:
    return f"gtCoarse/{split}/aachen/aachen_000000_{number:06d}_gtCoarse_{ids}.png"


@pytest.mark.parametrize("split", ["train", "train_extra", "val"])
@pytest.mark.parametrize(
    ("top", "frame_zip", "label_zip"),
    [
        ("leftImg8bit/", None, None),
        ("leftImg8bit_trainextra/leftImg8bit/", None, None),
        ("leftImg8bit/", "leftImg8bit_trainextra.zip", "gtCoarse.zip"),
    ],
)
def test_coarse_annotations_have_the_same_frames(
    plant: Plant, split: str, top: str, frame_zip: str | None, label_zip: str | None
) -> None:
    plant([name.replace("/train/", f"/{split}/") for name in frames([18, 19, 39], top=top)], frame_zip)
    plant([label(18), label(39)])
    root = plant([coarse(19, split), coarse(19, split, ids="color"), coarse(39, split, ids="labelTrainIds")], label_zip)
    first, second = open_dataset("cityscapes-coarse", DatasetOptions(root=root, split=split)).clips(1)
    assert (first.key, first.split, first.group) == ("aachen_000000_000019", split, "aachen")
    assert offsets(first) == [-1, 0]
    assert first.label.resource.read().decode() == coarse(19, split)
    assert (first.label.holds, second.label.holds) == ("label_ids", "train_ids")


def test_coarse_annotations_do_not_stand_in_for_fine_ones(plant: Plant) -> None:
    root = plant([*frames([19]), coarse(19, "train")])
    with pytest.raises(DatasetError, match="no Cityscapes labels: neither gtFine/<split>/<city>/"):
        open_at(root)
    (root / "gtCoarse").rename(root / "gtFine")
    with pytest.raises(DatasetError, match=r"neither gtCoarse/<split>/<city>/ nor gtCoarse\.zip is there"):
        open_dataset("cityscapes-coarse", DatasetOptions(root=root))
    with pytest.raises(DatasetError, match="the cityscapes-coarse layout takes no --max-gap"):
        open_dataset("cityscapes-coarse", DatasetOptions(root=root, max_gap=2))


def test_real_snippets_are_read_as_they_are() -> None:
    root = DATA / "cityscapes_clip"
    if not root.is_dir():
        pytest.skip(f"needs {root}")
    clips = open_at(root).clips(5)
    assert [clip.key for clip in clips] == ["aachen_000000_000019", "aachen_000001_000019"]
    assert all(offsets(clip) == list(range(-5, 6)) and not clip.missing for clip in clips)
