"""Temporal consistency from labels and flows: the published numbers, and what must hold of it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise, repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.steppers import moving
from torch import Tensor

from propagate.scoring.metrics import accuracy, class_iou, mean_iou
from sdcnet.geometry import inside, warp_labels
from sdcnet.motion.classical import Dis, NoMotion
from sdcnet.motion.estimator import Observation, Step
from segtrain.evaluation.consistency import Consistency
from segtrain.evaluation.metrics import class_recall
from segtrain.evaluation.temporal import (
    ClipCounts,
    ClipTally,
    Pair,
    blended_labels,
    count_between,
    count_carried,
    count_still,
    pair_of,
)

NUM_CLASSES = 19
NAMES = tuple(f"class {number}" for number in range(NUM_CLASSES))
Labels = Sequence[np.ndarray]


class OneWay:
    """Says of the first two frames that all moved, and of all others that nothing did."""

    num_history = 1
    transfers = None
    fingerprint: Mapping[str, object] = {"motion": "one way"}

    def __init__(self) -> None:
        self._columns = chain([3.0], repeat(0.0))

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            yield shift(next(self._columns), 0.0, observations[step.target].pixels.shape[-2:])


@pytest.fixture(scope="module")
def golden() -> Mapping[str, np.ndarray]:
    """Two clips of four label maps and three flows, from a frame to the next; numbers of the published program."""
    with np.load(Path(__file__).parents[2] / "golden" / "etc_tc.npz") as numbers:
        return dict(numbers)


def clips_of(golden: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, list[Tensor]]]:
    return [
        (golden[f"clip{clip}_labels"], [torch.from_numpy(flow)[None] for flow in golden[f"clip{clip}_flows"]])
        for clip in range(2)
    ]


def everywhere(flow: Tensor) -> Tensor:
    return torch.ones(flow.shape[-2:], dtype=torch.bool)


def counted(labels: Labels, pairs: Sequence[Pair], truths: Labels = ()) -> ClipCounts:
    tally = ClipTally("clip", NUM_CLASSES)
    for found, truth, pair in zip(labels, truths or [None] * len(labels), (None, *pairs), strict=True):
        tally.add(found, truth, pair)
    return tally.clip()


def consistency(*clips: ClipCounts, as_published: bool = False) -> Consistency:
    return Consistency(class_names=NAMES, clips=clips, as_published=as_published)


def published(golden: Mapping[str, np.ndarray]) -> Consistency:
    clips = [
        counted(labels, [Pair(flow, everywhere(flow), as_published=True) for flow in flows])
        for labels, flows in clips_of(golden)
    ]
    return consistency(*clips, as_published=True)


def test_labels_are_blended_as_published(golden: Mapping[str, np.ndarray]) -> None:
    found = [
        blended_labels(source, flow)
        for labels, flows in clips_of(golden)
        for source, flow in zip(labels[1:], flows, strict=True)
    ]
    assert np.array_equal(found, golden["published_warped"])
    worn = blended_labels(golden["drift_label"], torch.from_numpy(golden["drift_flow"])[None])
    assert np.array_equal(worn, golden["drift_published_warped"])


def test_published_scores_are_those_of_the_published_program(golden: Mapping[str, np.ndarray]) -> None:
    found = published(golden)
    counts = found.counts[:, :-1]
    hits, targets = np.diagonal(counts), counts.sum(axis=1)
    assert np.array_equal(hits, golden["published_intersection"])
    assert np.array_equal(targets, golden["published_target"])
    assert np.array_equal(targets + counts.sum(axis=0) - hits, golden["published_union"])
    assert found.tc == pytest.approx(float(golden["published_miou"]), abs=1e-9)
    recall = np.nan_to_num(class_recall(found.counts))
    assert recall.mean() == pytest.approx(float(golden["published_macc"]), abs=1e-9)
    assert accuracy(found.counts) == pytest.approx(float(golden["published_allacc"]), abs=1e-9)


def test_nearest_scores_are_those_of_the_reference(golden: Mapping[str, np.ndarray]) -> None:
    """There labels are carried back in time, so here time runs backward."""
    whole, within = [], []
    warped, is_inside = [], []
    for labels, flows in clips_of(golden):
        warped += [
            warp_labels(torch.from_numpy(source)[None, None], flow)[0, 0].numpy()
            for source, flow in zip(labels[1:], flows, strict=True)
        ]
        is_inside += [inside(flow)[0, 0] for flow in flows]
        back = flows[::-1]
        whole.append(counted(labels[::-1], [Pair(flow, everywhere(flow)) for flow in back]))
        within.append(counted(labels[::-1], [Pair(flow, inside(flow)[0, 0]) for flow in back]))
    assert np.array_equal(warped, golden["nearest_warped"])
    assert np.array_equal(np.packbits(np.stack(is_inside), axis=0), golden["inside"])
    found, found_within = consistency(*whole), consistency(*within)
    assert np.array_equal(found.counts[:, :-1].T, golden["nearest_pooled_confusion"])
    of_pairs = [
        mean_iou(count_carried(Pair(flow, everywhere(flow)), labels[place + 1], labels[place], NUM_CLASSES))
        for labels, flows in clips_of(golden)
        for place, flow in enumerate(flows)
    ]
    scores = {
        "pooled_all19": consistency(*whole, as_published=True).tc,
        "pooled_present": found.tc,
        "pooled_present_inside": found_within.tc,
        "mean_over_clips_present": found.mean_of_clips,
        "mean_over_clips_present_inside": found_within.mean_of_clips,
        "mean_over_pairs_present": float(np.mean(of_pairs)),
    }
    assert scores == pytest.approx({name: float(golden[f"nearest_{name}"]) for name in scores}, abs=1e-9)


def regions(seed: int = 0, size: tuple[int, int] = (96, 192), number: int = 24) -> np.ndarray:
    """A label map of regions around random points, of all classes."""
    random = np.random.default_rng(seed)
    points = random.uniform(0, 1, (number, 2)) * size
    classes = np.concatenate((np.arange(NUM_CLASSES), random.integers(0, NUM_CLASSES, number - NUM_CLASSES)))
    y, x = np.mgrid[: size[0], : size[1]]
    nearest = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(axis=-1)
    return classes.astype(np.uint8)[nearest]


def shifted(number: int, flow: Tensor) -> list[np.ndarray]:
    """Label maps, each of which is the one before it, moved."""
    labels = [regions()]
    for _ in range(number - 1):
        labels.append(warp_labels(torch.from_numpy(labels[-1])[None, None], flow)[0, 0].numpy())
    return labels


def shift(dx: float, dy: float, size: tuple[int, int] = (96, 192)) -> Tensor:
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, *size).contiguous()


def right_and_published(labels: Labels, flow: Tensor) -> tuple[Consistency, Consistency]:
    """Of labels that move by a flow, to the frame before."""
    pairs = [Pair(flow, inside(flow)[0, 0])] * (len(labels) - 1)
    back = [Pair(-flow, everywhere(flow), as_published=True)] * (len(labels) - 1)
    return consistency(counted(labels, pairs)), consistency(counted(labels, back), as_published=True)


def test_labels_that_move_between_pixels_are_consistent_but_not_as_published() -> None:
    right, released = right_and_published(shifted(4, shift(1.4, 0.6)), shift(1.4, 0.6))
    assert right.tc == 1
    assert released.tc == pytest.approx(0.847, abs=0.001)  # at worst a seventh is lost to blending ids
    right, released = right_and_published(shifted(4, shift(-2, 0)), shift(-2, 0))
    assert right.tc == 1
    assert released.tc > 0.97  # by whole pixels nothing is blended, but what entered counts


def test_equal_frames_are_consistent() -> None:
    labels, frame = regions(size=(48, 64)), moving(1)[0]
    for as_published in (False, True):
        pair = pair_of(frame, frame, NoMotion(), as_published=as_published)
        found = consistency(counted([labels] * 3, [pair] * 2), as_published=as_published)
        assert (found.tc, found.floor, found.share_counted) == (1, 1, 1)
        assert found.clips[0].num_pairs == 2


def test_a_class_that_is_absent_lowers_the_published_measure_alone() -> None:
    labels = shifted(3, shift(-2, 0))
    merged = [np.where(found == 18, 17, found).astype(np.uint8) for found in labels]
    right, released = right_and_published(merged, shift(-2, 0))
    assert (right.tc, right.num_classes) == (1, 18)
    present = class_iou(released.counts)[:18]
    assert released.tc == pytest.approx(present.sum() / 19)
    assert released.cells()[-1] == "18 of 19"


def test_mirrored_frames_labels_and_flows_are_as_consistent() -> None:
    labels = [regions(seed) for seed in (1, 2)]
    flow = torch.nn.functional.interpolate(
        torch.randn(1, 2, 6, 12, generator=torch.Generator().manual_seed(4)), (96, 192), mode="bilinear"
    )
    mirrored = flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    for as_published in (False, True):
        one = count_carried(Pair(flow, inside(flow)[0, 0], as_published), *labels, NUM_CLASSES)
        flipped = [np.ascontiguousarray(found[:, ::-1]) for found in labels]
        other = count_carried(Pair(mirrored, inside(mirrored)[0, 0], as_published), *flipped, NUM_CLASSES)
        assert mean_iou(one) < 0.2  # of two that have nothing to do with each other
        # as published, a region may lose a pixel to rounding, here or there
        assert np.abs(one - other).sum() <= (0.03 * labels[0].size if as_published else 0)


def test_of_a_clip_it_is_that_of_its_pairs_together() -> None:
    labels = [regions(seed) for seed in range(4)]
    flow = shift(1.2, -0.4)
    pair = Pair(flow, inside(flow)[0, 0])
    clip = counted(labels, [pair] * 3, truths=[labels[0]] * 4)
    parts = [count_carried(pair, *two, NUM_CLASSES) for two in pairwise(labels)]
    assert np.array_equal(clip.counts, sum(parts))
    assert np.array_equal(clip.still, sum(count_still(*two, NUM_CLASSES) for two in pairwise(labels)))
    assert np.array_equal(clip.truth, 3 * count_carried(pair, labels[0], labels[0], NUM_CLASSES))
    found = consistency(clip, counted(labels[:2], [pair]))
    assert found.tc == mean_iou(sum(parts, start=parts[0]))
    assert found.mean_of_clips == pytest.approx((mean_iou(sum(parts)) + mean_iou(parts[0])) / 2)


def test_counts_are_of_what_both_frames_show() -> None:
    """The edge moves two pixels to the right; found are it, and once a column that is wrong."""
    before, after = np.zeros((2, 4, 6), np.uint8)
    before[:, 2:], after[:, 4:] = 1, 1
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0] = -2
    is_seen = everywhere(flow)
    is_seen[:, :2] = False
    pair = Pair(flow, is_seen)
    assert count_carried(pair, before, after, 2).tolist() == [[8, 0, 0], [0, 8, 0]]
    assert count_still(before, after, 2).tolist() == [[8, 0, 0], [8, 8, 0]]
    after[:, 3] = 1
    assert count_carried(pair, before, after, 2).tolist() == [[4, 4, 0], [0, 8, 0]]
    after[0], before[1] = 255, 255  # what nobody knows on either side is neither right nor wrong
    assert count_carried(pair, before, after, 2).tolist() == [[2, 2, 0], [0, 4, 0]]
    assert count_still(before, after, 2).tolist() == [[4, 0, 0], [2, 6, 0]]
    published = Pair(torch.zeros(1, 2, 4, 6), everywhere(flow), as_published=True)
    assert count_carried(published, before, after, 2).tolist() == [[4, 2, 0], [0, 6, 0]]
    published = Pair(torch.full((1, 2, 4, 6), -0.5), everywhere(flow), as_published=True)
    assert count_carried(published, before, after, 2).sum() == 12  # a pixel that is blended with an unknown one is none


def test_what_both_frames_show_is_where_motion_leads_there_and_back() -> None:
    one, other = moving(2, size=(48, 64), speed=5)
    pair = pair_of(one, other, Dis())
    inner = slice(8, -8)
    assert float(pair.flow_target_to_source[0, 0, inner, inner].median()) == pytest.approx(5, abs=0.3)
    assert pair.is_counted[inner, 8:-12].float().mean() > 0.9
    assert not pair.is_counted[:, -4:].any()  # came in from the right
    assert not pair_of(one, other, OneWay()).is_counted.any()
    published = pair_of(one, other, Dis(), as_published=True)
    assert float(published.flow_target_to_source[0, 0, inner, inner].median()) == pytest.approx(-5, abs=0.3)
    assert published.is_counted.all()
    labels = regions(size=(48, 64)), regions(1, size=(48, 64))
    of_both = count_between(one, other, labels, NUM_CLASSES, Dis())
    assert np.array_equal(of_both, count_carried(pair, *labels, NUM_CLASSES))


def test_the_interval_is_of_clips_that_are_drawn_again() -> None:
    pair = Pair(shift(0, 0), everywhere(shift(0, 0)))
    steady = counted([regions(), regions()], [pair])
    changed = regions()
    changed[:30] = 0
    worse = counted([regions(), changed], [pair])
    found = consistency(steady, worse)
    assert found.interval == pytest.approx((found.tc_of(worse), 1.0))  # both twice, in a quarter of the draws each
    assert found.interval == consistency(steady, worse).interval
    assert consistency(*[worse] * 5).interval == pytest.approx((found.tc_of(worse),) * 2)
    low, high = consistency(*[steady, worse] * 20).interval
    assert found.tc_of(worse) < low < found.tc < high < 1
    nothing = counted([regions(), regions()], [Pair(shift(0, 0), ~everywhere(shift(0, 0)))])
    assert consistency(steady, nothing).interval == (1, 1)
    assert math.isnan(consistency(nothing, nothing).interval[1])
    low, high = consistency(steady, as_published=True).interval
    assert math.isnan(low)
    assert math.isnan(high)
    assert consistency(steady).cells()[1] == "–"


def test_without_truth_in_succession_there_is_no_ceiling() -> None:
    pair = Pair(shift(0, 0), everywhere(shift(0, 0)))
    known, unknown = counted([regions()] * 2, [pair], [regions()] * 2), counted([regions()] * 2, [pair])
    assert math.isnan(consistency(unknown).ceiling)
    assert consistency(unknown, known).ceiling == 1
    assert consistency(known).to_dict()["classes"]["class 3"] == {"tc": 1.0, "floor": 1.0, "ceiling": 1.0}
