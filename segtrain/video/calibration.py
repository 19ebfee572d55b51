"""The threshold at which an adaptive clock computes a wished share of frames in full, found on video without labels."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, inf
from typing import NamedTuple

import torch
from torch import Tensor

from jobs.training.memory import enough_memory
from segtrain.models.network import IMAGE, SegmentationNetwork
from segtrain.video.clocks import Adaptive
from segtrain.video.clockwork import clock_stages
from segtrain.video.parts import Parts
from segtrain.video.registry import SIGNALS
from segtrain.video.stepper import Seen

Difference = Callable[[int, int], float]  # between two frames of a scene, by their places


class Calibrated(NamedTuple):
    """A threshold, the share of frames that are computed in full at it, and the number of which that is a share.

    The threshold is infinite, in JSON null, where the longest wait alone lets as many be computed.
    """

    threshold: float
    share: float
    num_frames: int


def calibrate(
    network: SegmentationNetwork,
    frames: Iterable[Seen],
    share: float,
    *,
    signal: str = "feature",
    cuts: Sequence[str] = (),
    longest_wait: int | None = None,
) -> Calibrated:
    """The largest threshold at which an adaptive clock computes at least this share of the frames in full.

    The frames, of one video or of several, are seen once, up to where the signal (of SIGNALS) reads; what it keeps of
    each of them stays in memory. First frames of scenes are full in any case and not counted.

    Raises: ValueError for a share that is not above 0 and at most 1, where no scene has two frames, and for what the
    network cannot do; TooLargeError where the memory does not hold it.
    """
    looks = SIGNALS[signal]
    stages = clock_stages(network, cuts)
    looks_at = looks.stage(network, stages[-2][-1]) if len(stages) > 1 else IMAGE
    parts, scenes = Parts(network), list[list[Tensor]]()
    device = next(network.parameters()).device
    with enough_memory(device, "while what is compared of every frame is kept", "fewer --frames"):
        for seen in frames:
            found = {IMAGE: seen.image}
            with torch.inference_mode():
                parts.run(found, looks_at)
                mark = looks.seen(network, looks_at, found[looks_at], seen.image)
            if seen.is_new:
                scenes.append([])
            scenes[-1].append(mark)
    compared = [(len(scene), _remembered(scene, looks.difference)) for scene in scenes]
    return largest_threshold(compared, share, longest_wait)


def largest_threshold(
    scenes: Sequence[tuple[int, Difference]], share: float, longest_wait: int | None = None
) -> Calibrated:
    """As `calibrate`, of scenes by their number of frames, and how much two of these differ.

    The share does not fall steadily with the threshold, because what a frame is compared with depends on it too. So all
    thresholds that make a difference are tried, from above: the next one is the largest difference that was too small.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, found {share}")
    total = sum(length - 1 for length, _ in scenes)
    if total < 1:
        raise ValueError("no two frames of one scene to compare; calibrate on a video of more frames")
    wanted = ceil(share * total - 1e-9)  # a whole number, whatever the rounding of the product
    threshold = inf
    while True:
        fired, missed = 0, list[float]()
        for length, difference in scenes:
            for full, found in simulated(length, difference, Adaptive(1, threshold, longest_wait)):
                fired += full
                missed += [] if full else [found]
        if fired >= wanted:
            return Calibrated(threshold, fired / total, total)
        threshold = max(missed)


def simulated(length: int, difference: Difference, clock: Adaptive) -> Iterator[tuple[bool, float]]:
    """Of each frame of a scene but the first: whether it is computed in full, and how much it differs."""
    last = 0
    for place in range(1, length):
        found = difference(last, place)
        is_full = clock.fires(place - last, found)[-1]
        last = place if is_full else last
        yield is_full, found


def _remembered(marks: Sequence[Tensor], difference: Callable[[Tensor, Tensor], Tensor]) -> Difference:
    """Between what is kept of two frames; worked out once."""
    known: dict[tuple[int, int], float] = {}

    def between(one: int, other: int) -> float:
        if (one, other) not in known:
            known[one, other] = float(difference(marks[other], marks[one]))
        return known[one, other]

    return between
