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

import torch
from torch import Tensor
from torch.nn import functional

from propagate.carry.confidence import DIFFERENCE_LEVELS, Match, outlines
from propagate.carry.paths import CarryingPath
from sdcnet.geometry import endpoints, pixel_before, sample_bilinear, warp_labels

REACH = 2  # pixels, from which votes come
SPREAD = 1.5  # pixels, the standard deviation of the weight by distance
COLOUR_LEVELS = 20.0  # grey levels, summed over channels, that lower a weight by e
LARGEST_DIFFERENCE = 200  # of them: a worse match is no worse than this
OUTSIDE_FACTOR = 6.0  # by which what comes from outside its frame weighs less
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
    contested = path.distance(marked, REACH) < REACH
    labels = nearest[0].clone()
    ids = torch.unique(torch.cat([side.label.flatten() for side in sides]))
    for number, target in enumerate(targets):
        place = contested[number].flatten().nonzero()[:, 0]
        if len(place):
            votes = torch.zeros(len(place), len(ids), device=target.device)
            for side, of_side in zip(sides, nearest, strict=True):
                _count(votes, place, target, side, number, of_side[number], ids)
            labels[number].view(-1)[place] = ids[votes.argmax(dim=1)]
    return labels


def _count(votes: Tensor, place: Tensor, target: Tensor, side: Side, number: int, nearest: Tensor, ids: Tensor) -> None:
    """Add the votes that a side has for the pixels at `place` of a target frame: [K,C], a row a pixel, a column an id.

    target: [3,H,W] uint8; nearest: [1,H,W] uint8, the labels of the pixels nearest to where they come from.
    """
    width = nearest.shape[-1]
    points = endpoints(side.flow[number : number + 1])
    colours = sample_bilinear(side.frame.float(), points)[0].round_()
    first, second, share = _two_labels(side.label, points, nearest, ids)
    padded = [functional.pad(each, (REACH,) * 4) for each in (colours, side.weight[number], share, first, second)]
    colours, weight, share, first, second = (each.flatten(1) for each in padded)
    row, column = place // width, place % width
    base = (row + REACH) * (width + 2 * REACH) + column + REACH
    own = target.flatten(1)[:, place].float()
    cell = torch.arange(len(place), device=place.device) * len(ids)
    likeness = torch.exp(-torch.arange(LARGEST_DIFFERENCE + 1, device=place.device) / COLOUR_LEVELS)
    for dx, dy in SHIFTS:
        there = base + (dy * (width + 2 * REACH) + dx)
        difference = (own - colours[:, there]).abs_().sum(dim=0).clamp_(max=LARGEST_DIFFERENCE)
        counts = likeness[difference.int()] * weight[0, there]
        counts *= math.exp(-(dx * dx + dy * dy) / (2 * SPREAD**2))
        of_first = counts * share[0, there]
        flat = votes.view(-1)
        flat.scatter_add_(0, cell + first[0, there], of_first)
        flat.scatter_add_(0, cell + second[0, there], counts - of_first)


def _two_labels(label: Tensor, points: Tensor, nearest: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What lies around each point of a label map: the nearest label, another one, and the share of the first.

    Labels are places in `ids`, [1,H,W] int64; a point between pixels has the labels of these by bilinear weights. Of
    several other labels that of the greatest weight counts for all.
    """
    height, width = label.shape[-2:]
    corner = pixel_before(points)
    fx, fy = (points - corner)[0]
    x, y = corner[0]
    columns, rows = (
        (each.clamp(0, side - 1).long(), (each + 1).clamp(0, side - 1).long())
        for each, side in ((x, width), (y, height))
    )
    flat = label.view(-1)
    first, second = nearest[0], nearest[0].clone()
    share, heaviest = torch.zeros_like(fx), torch.zeros_like(fx)
    for row, of_row in zip(rows, (1 - fy, fy), strict=True):
        for column, of_column in zip(columns, (1 - fx, fx), strict=True):
            found, weight = flat[row * width + column], of_row * of_column
            is_first = found == first
            share += weight * is_first
            is_heavier = ~is_first & (weight > heaviest)
            second = torch.where(is_heavier, found, second)
            heaviest = torch.where(is_heavier, weight, heaviest)
    place_of = torch.zeros(256, dtype=torch.int64, device=label.device)
    place_of[ids.long()] = torch.arange(len(ids), device=label.device)
    return place_of[first.long()][None], place_of[second.long()][None], share[None]
