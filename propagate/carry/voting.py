"""Which label a pixel gets, where several are near: those around it vote, from every annotated frame that shows it.

A carried label map is as good as the displacements under it, and these are worst where labels change. There a pixel
takes the label whose pixels look most like it: each pixel around it votes for the label that it was given itself, the
more the closer it is, the more its colour in the annotated frame is that of the pixel, and the surer its displacement.
Where two annotated frames show the place, all votes count together. Elsewhere one label is all there is to choose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from propagate.carry.confidence import DIFFERENCE_LEVELS, OUTSIDE_FACTOR, Match, outlines
from propagate.carry.paths import CarryingPath
from sdcnet.geometry import pixel_before, warp_labels

REACH = 2  # pixels, from which votes come
SPREAD = 1.5  # pixels, the standard deviation of the weight by distance
COLOUR_LEVELS = 20.0  # grey levels, summed over channels, that lower a weight by e
LARGEST_DIFFERENCE = 200  # of them: a worse match is no worse than this
SHIFTS = tuple(
    (dx, dy) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1) if abs(dx) + abs(dy) <= REACH
)


@dataclass(frozen=True)
class Side:
    """What one annotated frame says of N target frames.

    frame: [1,3,H,W] uint8 RGB; label: its label map, [1,1,H,W] uint8; flow: flow_target_to_annotated, [N,2,H,W] float32
    pixels; match: how well they match; distance: [N], of the frames from the annotated one, in frames.
    """

    frame: Tensor
    label: Tensor
    flow: Tensor
    match: Match
    distance: Sequence[int]

    @cached_property
    def weight(self) -> Tensor:
        """How much the votes of each pixel count: [N,1,H,W] float32."""
        found = 1 / ((1 + self.match.difference / DIFFERENCE_LEVELS).square() * (1 + self.match.rival))
        found = torch.where(self.match.is_inside, found, found / OUTSIDE_FACTOR)
        return found / torch.tensor(self.distance, device=found.device).sqrt().view(-1, 1, 1, 1)


def best_match(sides: Sequence[Side]) -> Match:
    """Of each pixel the match that counts most."""
    best, weight = sides[0].match, sides[0].weight
    for side in sides[1:]:
        is_better = side.weight > weight
        weight = torch.where(is_better, side.weight, weight)
        best = Match(
            difference=torch.where(is_better, side.match.difference, best.difference),
            rival=torch.where(is_better, side.match.rival, best.rival),
            is_inside=torch.where(is_better, side.match.is_inside, best.is_inside),
        )
    return best


def vote(targets: Tensor, sides: Sequence[Side], path: CarryingPath) -> Tensor:
    """The labels of the target frames [N,3,H,W] uint8 RGB: [N,1,H,W] uint8."""
    nearest = [warp_labels(side.label.expand(len(targets), -1, -1, -1), side.flow) for side in sides]
    marked = outlines(nearest[0])
    for label in nearest[1:]:
        marked |= outlines(label) | (label != nearest[0])
    reached = path.distance(marked, 2 * REACH)
    labels = nearest[0]
    ids = torch.unique(torch.cat([side.label.flatten() for side in sides]))
    for number, target in enumerate(targets):
        contested = _places(reached[number] < REACH)
        if len(contested):
            voters = _places(reached[number] < 2 * REACH)
            ballots = [
                _ballots(side, number, of_side[number], voters, ids)
                for side, of_side in zip(sides, nearest, strict=True)
            ]
            most, winner = _counted(contested, target, voters, ballots, len(ids)).max(dim=1)
            flat = labels[number].view(-1)
            flat[contested] = torch.where(most > 0, ids[winner], flat[contested])
    return labels


@dataclass(frozen=True)
class _Ballots:
    """What V pixels vote for, as places among the labels, and how much; their colours are those they come from.

    colours: [3,V]; weight, share: [V] float32; first, second: [V] int64. The share of the weight is for the first.
    """

    colours: Tensor
    weight: Tensor
    share: Tensor
    first: Tensor
    second: Tensor


def _places(mask: Tensor) -> Tensor:
    """Where a mask [1,H,W] holds: [V] int64, counted along rows."""
    return mask.flatten().nonzero()[:, 0]


def _ballots(side: Side, number: int, nearest: Tensor, voters: Tensor, ids: Tensor) -> _Ballots:
    """Those of the pixels at `voters` of a target frame, by its number.

    nearest: [1,H,W] uint8, the labels of the pixels nearest to where they come from. A point between pixels has the
    labels of these by bilinear weights; of several that are not the nearest, that of the greatest weight has them all.
    """
    height, width = nearest.shape[-2:]
    x, y = side.flow[number].flatten(1)[:, voters] + torch.stack((voters % width, voters // width))
    left, above = pixel_before(x), pixel_before(y)
    fx, fy = x - left, y - above
    label, frame = side.label.flatten(), side.frame.flatten(1).view(3, -1)
    first = nearest.flatten()[voters]
    second, share, heaviest = first, torch.zeros_like(fx), torch.zeros_like(fx)
    colours = torch.zeros(3, len(voters), device=fx.device)
    for row, of_row in ((above, 1 - fy), (above + 1, fy)):
        for column, of_column in ((left, 1 - fx), (left + 1, fx)):
            place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            found, weight = label[place], of_row * of_column
            colours += weight * frame[:, place]
            is_first = found == first
            share += weight * is_first
            is_heavier = ~is_first & (weight > heaviest)
            second = torch.where(is_heavier, found, second)
            heaviest = torch.where(is_heavier, weight, heaviest)
    place_of = torch.zeros(256, dtype=torch.int64, device=label.device)
    place_of[ids.long()] = torch.arange(len(ids), device=label.device)
    return _Ballots(
        colours=colours.nan_to_num_().round_(),  # a displacement may be NaN, and no index follows from NaN
        weight=side.weight[number].flatten()[voters].nan_to_num(),
        share=share.nan_to_num_(),
        first=place_of[first.long()],
        second=place_of[second.long()],
    )


def _counted(contested: Tensor, target: Tensor, voters: Tensor, sides: Sequence[_Ballots], num_labels: int) -> Tensor:
    """The votes that the pixels at `contested` have from those around them: [K,C], a row a pixel, a column a label.

    target: [3,H,W] uint8. sides: the ballots of the pixels at `voters`, from each annotated frame.
    """
    height, width = target.shape[-2:]
    wide = width + 2 * REACH
    voter = torch.full(((height + 2 * REACH) * wide,), -1, dtype=torch.int64, device=target.device)
    voter[_within_margin(voters, width)] = torch.arange(len(voters), device=target.device)
    base = _within_margin(contested, width)
    own = target.flatten(1)[:, contested].float()
    cell = torch.arange(len(contested), device=target.device) * num_labels
    votes = torch.zeros(len(contested) * num_labels, device=target.device)
    likeness = torch.exp(-torch.arange(LARGEST_DIFFERENCE + 1, device=target.device) / COLOUR_LEVELS)
    for ballots, (dx, dy) in product(sides, SHIFTS):
        there = voter[base + (dy * wide + dx)]
        is_there = there >= 0  # or beyond the frame
        there.clamp_(min=0)
        difference = (own - ballots.colours[:, there]).abs_().sum(dim=0).clamp_(max=LARGEST_DIFFERENCE)
        counts = likeness[difference.int()] * ballots.weight[there] * is_there
        counts *= math.exp(-(dx * dx + dy * dy) / (2 * SPREAD**2))
        of_first = counts * ballots.share[there]
        votes.scatter_add_(0, cell + ballots.first[there], of_first)
        votes.scatter_add_(0, cell + ballots.second[there], counts - of_first)
    return votes.view(-1, num_labels)


def _within_margin(places: Tensor, width: int) -> Tensor:
    """Places of a frame as those of one that has REACH pixels more on each side."""
    return (places // width + REACH) * (width + 2 * REACH) + places % width + REACH
