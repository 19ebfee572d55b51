"""The sets of classes around each pixel, and what the published targets are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segtrain.losses.class_sets import boundaries, class_sets, members_of, own_classes, relaxed_target

GOLDEN = Path(__file__).parents[2] / "golden"
CONFIGS = json.loads((GOLDEN / "segmentation_losses.json").read_text())["configs"]
MAPS = ("plain0", "plain1", "ignore0", "ignore1", "all_ignore", "one_class", "one_class_ignore")


def dense(target_sets: Tensor, num_classes: int) -> Tensor:
    """Bit masks [K,B,H,W] -> [B,C+1,H,W] bool."""
    num_words, batch, height, width = target_sets.shape
    members = members_of(target_sets.reshape(num_words, -1), num_classes)
    return members.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("config", CONFIGS)
def test_targets_are_the_published_ones(config: str, maps: str) -> None:
    """After the switch-off the published target holds 2 at boundary pixels; ours has that as emphasis."""
    golden = np.load(GOLDEN / "segmentation_losses.npz")
    labels = torch.from_numpy(golden[f"map_{maps}"])[None]
    published = golden[f"target_{config}_{maps}"]
    settings = CONFIGS[config]
    relaxed = not config.startswith("after_off")
    border = settings["b"] if relaxed else settings["b"] // 2
    sets = dense(class_sets(own_classes(labels, 19), 19, border, settings["strict"] or ()), 19)[0]
    expected = torch.from_numpy(np.unpackbits(published, axis=0)[:20] if relaxed else published)
    emphasis = relaxed_target(labels, 19, border=settings["b"], relaxed=relaxed).emphasis[0]
    assert (sets * emphasis == expected).all()


def test_a_target_holds_every_set_once() -> None:
    golden = np.load(GOLDEN / "segmentation_losses.npz")
    labels = torch.from_numpy(np.stack([golden["map_ignore0"], golden["map_plain1"]]))
    expected = dense(class_sets(own_classes(labels, 19), 19, 1), 19)
    target = relaxed_target(labels, 19)
    sets = torch.nn.functional.one_hot(target.classes.flatten(), 20).bool()
    sets[target.pixel] = False
    sets[target.pixel[target.row], target.member] = True
    sets[target.pixel, 19] = target.near_ignored
    assert (sets == expected.permute(0, 2, 3, 1).flatten(0, 2)).all()
    assert target.num_members.sum() == len(target.row)
    assert (target.image == target.pixel // expected[0, 0].numel()).all()


def test_an_ignored_pixel_that_touches_a_class_has_that_class() -> None:
    labels = torch.full((1, 7, 7), 255)
    labels[0, 3, 3] = 4
    sets = dense(class_sets(own_classes(labels, 19), 19, 1), 19)
    assert sets[0, 4].sum() == 9
    assert sets[0, 19].sum() == 49
    assert (relaxed_target(labels, 19).classes == 4).sum() == 9
    assert (labels == 4).sum() == 1  # untouched


def test_a_strict_class_is_not_relaxed_but_relaxes_others() -> None:
    labels = torch.zeros((1, 4, 8), dtype=torch.uint8)
    labels[..., 4:] = 5
    sets = dense(class_sets(own_classes(labels, 19), 19, 1, strict_classes=(5,)), 19)[0, :, 1]
    assert sets[5].tolist() == [False] * 3 + [True] * 5
    assert sets[0].tolist() == [True] * 4 + [False] * 4


def test_boundaries_are_where_one_of_four_neighbours_differs() -> None:
    labels = torch.tensor([[[1, 1, 1], [1, 1, 1], [1, 1, 255]]])
    assert boundaries(labels)[0].int().tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1]]


def test_a_border_wider_than_the_image_unites_all() -> None:
    labels = torch.arange(6).reshape(1, 2, 3)
    assert dense(class_sets(labels, 7, 9), 7)[0, :6].all()


@pytest.mark.parametrize("value", [19, 254, -1])
def test_labels_that_are_no_train_ids_are_refused(value: int) -> None:
    labels = torch.full((1, 2, 2), value, dtype=torch.int16)
    with pytest.raises(ValueError, match=rf"the labels hold \[{value}\]; train ids are 0…18, and 255"):
        own_classes(labels, 19)


def test_what_makes_no_sense_is_refused() -> None:
    labels = torch.zeros((1, 2, 2), dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"integer type, found \[1, 2, 2\] torch.float32"):
        own_classes(labels.float(), 19)
    with pytest.raises(ValueError, match="border must be 0 or more pixels, found -1"):
        relaxed_target(labels, 19, border=-1)
    with pytest.raises(ValueError, match=r"strict classes are train ids within 0…18, found \[19\]"):
        relaxed_target(labels, 19, strict_classes=(3, 19))
