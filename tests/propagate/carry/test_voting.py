"""Votes for labels: outlines go to where colours have them, the surer side wins, and nothing else changes."""

import pytest
import torch
from torch import Tensor

from jobs.training.transfers import Transfers
from propagate.carry.confidence import Match, match
from propagate.carry.paths import CarryingPath, DevicePath, HostPath
from propagate.carry.voting import Side, best_match, vote
from sdcnet.geometry import warp_labels

SIZE = (32, 48)
HOST = HostPath()
STILL = torch.zeros(1, 2, *SIZE)


@pytest.fixture(params=["host", "device"])
def path(request: pytest.FixtureRequest) -> CarryingPath:
    return HOST if request.param == "host" else DevicePath(Transfers(torch.device("cpu")))


def halves(column: int, left: int, right: int, channels: int = 1) -> Tensor:
    """[1,C,H,W] uint8: one value up to a column, another from there on."""
    image = torch.full((1, channels, *SIZE), right, dtype=torch.uint8)
    image[..., :column] = left
    return image


def side(frame: Tensor, label: Tensor, flow: Tensor, target: Tensor, path: CarryingPath, distance: int = 1) -> Side:
    return Side(frame, label, flow, match(flow, target, frame, path), [distance])


@pytest.mark.parametrize("error", [-2, -1, 0, 1, 2])
def test_an_outline_goes_to_where_the_colours_have_it(path: CarryingPath, error: int) -> None:
    target, label = halves(20, 40, 200, channels=3), halves(20, 7, 9)
    wrong = STILL.clone()
    wrong[:, 0] = error  # the motion of the thing on the left reaches too far, or not far enough
    wrong[..., : 20 - 6] = 0
    wrong[..., 20 + 6 :] = 0
    carried = warp_labels(label, wrong)
    assert (carried != label).any() == (error != 0)
    assert torch.equal(vote(target, [side(target, label, wrong, target, path)], path), label)


def test_where_one_label_is_all_there_is_it_stays(path: CarryingPath) -> None:
    target = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    label = halves(20, 7, 9)
    found = vote(target, [side(target.flip(3), label, STILL, target, path)], path)
    assert torch.equal(found[..., :16], label[..., :16])
    assert torch.equal(found[..., 24:], label[..., 24:])


def test_void_is_a_label_like_any_other(path: CarryingPath) -> None:
    """A stripe of the ignored label between two of one class and colour is not filled."""
    target = torch.full((1, 3, *SIZE), 90, dtype=torch.uint8)
    label = torch.full((1, 1, *SIZE), 7, dtype=torch.uint8)
    label[..., 20:28] = 255
    assert torch.equal(vote(target, [side(target, label, STILL, target, path)], path), label)


def test_the_side_that_matches_decides_and_its_place_does_not(path: CarryingPath) -> None:
    target, right = halves(20, 40, 200, channels=3), halves(20, 7, 9)
    moved, wrong = halves(30, 40, 200, channels=3), halves(30, 7, 9)
    good, bad = side(target, right, STILL, target, path, 5), side(moved, wrong, STILL, target, path, 1)
    for sides in ([good, bad], [bad, good]):
        assert torch.equal(vote(target, sides, path), right)
    assert best_match([good, bad]).difference.max() < bad.match.difference.max() / 50


def test_of_two_that_match_alike_the_nearer_decides(path: CarryingPath) -> None:
    target = torch.full((1, 3, *SIZE), 90, dtype=torch.uint8)
    one, other = (torch.full((1, 1, *SIZE), label, dtype=torch.uint8) for label in (7, 9))
    near, far = side(target, one, STILL, target, path, 2), side(target, other, STILL, target, path, 3)
    assert (vote(target, [far, near], path) == 7).all()


def test_a_pixel_with_a_rival_or_from_outside_counts_less() -> None:
    at_ease = Match(torch.zeros(1, 1, 1, 3), torch.tensor([[[[0.0, 4, 0]]]]), torch.tensor([[[[True, True, False]]]]))
    frame = torch.zeros(1, 3, 1, 3, dtype=torch.uint8)
    weight = Side(frame, frame[:, :1], torch.zeros(1, 2, 1, 3), at_ease, [1]).weight[0, 0, 0]
    assert weight[0] == 1
    assert weight[1] == pytest.approx(1 / 5)
    assert weight[2] == pytest.approx(1 / 6)


def test_labels_between_pixels_count_by_their_shares(path: CarryingPath) -> None:
    """The stair of a slanted outline that moves by a third of a pixel is where the truth has it, not the nearest."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")

    def slanted(shift: float) -> Tensor:
        return torch.where(x - 0.4 * y < 18.2 + shift, 7, 9).byte()[None, None]

    def picture(shift: float) -> Tensor:
        share = (18.7 + shift - x + 0.4 * y).clamp(0, 1)
        return (40 + 160 * (1 - share)).round().byte().expand(1, 3, -1, -1).contiguous()

    flow = STILL.clone()
    flow[:, 0] = -1 / 3
    found = vote(picture(1 / 3), [side(picture(0), slanted(0), flow, picture(1 / 3), path)], path)
    wrong = (found != slanted(1 / 3)).sum()
    assert wrong < (warp_labels(slanted(0), flow) != slanted(1 / 3)).sum()


def test_a_displacement_that_is_no_number_keeps_its_label(path: CarryingPath) -> None:
    target, label = halves(20, 40, 200, channels=3), halves(20, 7, 9)
    flow = STILL.clone()
    flow[..., 10:14, 18:22] = float("nan")
    found = vote(target, [side(target, label, flow, target, path)], path)
    assert set(found.unique().tolist()) == {7, 9}
    assert torch.equal(found[..., :4, :], label[..., :4, :])
