"""The vote within masks: one thing's mask mends labels, poor masks change nothing, void stays void."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from propagate.carry.carried import Carried
from propagate.carry.confidence import Match
from propagate.carry.masks import MaskVote, vote
from propagate.data.clip import Resource
from propagate.data.runs import runs_of_mask
from propagate.errors import InputError, UnreachableError

SIZE = (60, 80)
ROAD, CAR, VOID = 7, 26, 0
IGNORED = torch.arange(256) == VOID


def square(top: int, left: int, side: int) -> Tensor:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def labelled(*cars: Tensor) -> Tensor:
    label = torch.full(SIZE, ROAD, dtype=torch.uint8)
    for car in cars:
        label[car] = CAR
    return label


CAR_THERE = square(20, 20, 24)
CARRIED = labelled(square(20, 21, 24))  # the motion is wrong by a pixel
MASKS = CAR_THERE.int() + 1


def doubtful() -> Tensor:
    """[H,W] confidence: low where the labels may be wrong by a pixel, which is as it should be."""
    confidence = torch.full(SIZE, 0.999)
    confidence[18:46, 18:47] = 0.97
    confidence[18:46, 19:22] = confidence[18:46, 43:46] = 0.6
    return confidence


def test_masks_of_one_thing_mend_the_outline() -> None:
    confidence = doubtful()
    found, after = vote(CARRIED, confidence, MASKS, IGNORED)
    assert torch.equal(found, labelled(CAR_THERE))
    changed = found != CARRIED
    assert (after[changed] > 0.6).all()
    assert (after[~changed] >= confidence[~changed]).all()
    assert after[~changed].mean() > confidence[~changed].mean()
    assert (after <= 1).all()


@pytest.mark.parametrize(
    "masks",
    [
        torch.ones(SIZE, dtype=torch.int32),  # one for everything
        square(10, 10, 44).int() + 1,  # far wider than the thing
        square(28, 28, 24).int() + 1,  # aside
        torch.zeros(SIZE, dtype=torch.int32),  # none
    ],
)
def test_poor_masks_change_nothing(masks: Tensor) -> None:
    confidence = doubtful()
    found, after = vote(CARRIED, confidence, masks, IGNORED)
    assert torch.equal(found, CARRIED)
    assert torch.equal(after[masks == 0], confidence[masks == 0])


def test_pixels_in_no_mask_stay_as_they_are() -> None:
    confidence = doubtful()
    found, after = vote(CARRIED, confidence, MASKS - 1, IGNORED)
    outside = ~CAR_THERE
    assert torch.equal(found[outside], CARRIED[outside])
    assert torch.equal(after[outside], confidence[outside])
    assert (found[CAR_THERE] == CAR).all()


def test_void_neither_votes_nor_changes() -> None:
    label, confidence = CARRIED.clone(), doubtful()
    hole = square(30, 30, 6)
    label[hole] = VOID
    found, after = vote(label, confidence, MASKS, IGNORED)
    assert torch.equal(found == VOID, hole)
    assert torch.equal(after[hole], confidence[hole])
    assert torch.equal(found[~hole], labelled(CAR_THERE)[~hole])
    label[square(20, 22, 22)] = VOID  # most of the mask
    found, after = vote(label, confidence, MASKS - 1, IGNORED)
    assert torch.equal(found, label)
    assert torch.equal(after, confidence)


def test_numbers_of_masks_do_not_matter() -> None:
    one = vote(CARRIED, doubtful(), MASKS, IGNORED)
    other = vote(CARRIED, doubtful(), 3 - MASKS, IGNORED)
    assert all(torch.equal(*both) for both in zip(one, other, strict=True))


def test_only_frames_that_have_masks_are_corrected(tmp_path: Path) -> None:
    size = list(SIZE)
    car = {"size": size, "counts": runs_of_mask(CAR_THERE.T.numpy())}
    road = {"size": size, "counts": runs_of_mask(~CAR_THERE.T.numpy())}
    (tmp_path / "a.json").write_text(json.dumps([car, road]))
    unreachable: list[str] = []
    vote_of_masks = MaskVote({"a": Resource(str(tmp_path), "a.json", 1)}, IGNORED, unreachable.append)
    label = CARRIED.expand(2, 1, -1, -1)
    confidence = doubtful().expand(2, 1, -1, -1)
    nothing = torch.zeros_like(confidence)
    match = Match(difference=nothing, rival=nothing, is_inside=nothing == 0)
    carried = Carried(label=label, confidence=confidence, reason=torch.zeros_like(label), match=match)
    targets = torch.zeros(2, 3, *SIZE, dtype=torch.uint8)
    found = vote_of_masks(carried, targets, ["b", "a"])
    assert torch.equal(found.label[0, 0], CARRIED)
    assert torch.equal(found.confidence[0], confidence[0])
    assert torch.equal(found.label[1, 0], labelled(CAR_THERE))
    assert torch.equal(carried.label[1, 0], CARRIED)  # as it was
    (tmp_path / "a.json").write_text("[0]")
    with pytest.raises(InputError, match="expected COCO's runs"):
        vote_of_masks(carried, targets, ["b", "a"])
    assert not unreachable
    (tmp_path / "a.json").unlink()
    with pytest.raises(UnreachableError):
        vote_of_masks(carried, targets, ["b", "a"])
    assert unreachable == [str(tmp_path / "a.json")]
