"""Clocks on video whose every frame is labelled: pictures that move sideways, and drives through synthetic streets.

python benchmarks/clockwork.py WEIGHTS [--size 192x384] [--snippets 16] [--seed 1000]

Every clock is scored in all its states, and adaptive ones beside fixed ones, by what they compute. Published is the
same of PASCAL VOC; there, frames 2 to 5 of 6 are scored, here the four after the third, so that a rate of 4 has all
its states.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import torch

from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime
from propagate.data.classes import ClassTable
from propagate.scoring.metrics import accuracy, confusion, mean_iou
from propagate.synth.write import write_dataset
from sdcnet.motion.estimator import ObservedPixels
from sdcnet.motion.registry import MotionSettings, open_estimator
from segtrain.models.network import IMAGE, SegmentationNetwork
from segtrain.trained import open_trained
from segtrain.video.calibration import calibrate
from segtrain.video.clockwork import clock_stages
from segtrain.video.cost import stage_macs
from segtrain.video.differencing import changes
from segtrain.video.observations import observed
from segtrain.video.parts import LOGITS, Parts
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.stepper import Seen
from segtrain.video.stepping import stepped

RADIUS = 5  # pixels around where two classes meet
SPLIT = "val"
RUNTIME = Runtime(device=torch.device("cpu"))


@dataclass(frozen=True)
class Snippet:
    """Frames, and the train ids [H,W] of each; `edges` are the pixels near another class."""

    frames: Sequence[Seen]
    truth: Sequence[np.ndarray]
    edges: Sequence[np.ndarray]


@dataclass
class Found:
    """Of one scheme: counts everywhere and at edges; of each scored frame, its work, and whether its context is new."""

    counts: np.ndarray
    at_edges: np.ndarray
    macs: list[int] = field(default_factory=list)
    full: list[bool] = field(default_factory=list)


def snippets_of(classes: ClassTable, size: tuple[int, int], number: int, seed: int, speed: int | None) -> list[Snippet]:
    length, nothing = 20 if speed is None else 7, open_estimator(MotionSettings(name="none"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        write_dataset(root, split=SPLIT, num_snippets=number, size=size, length=length, seed=seed, speed=speed)
        images = sorted((root / "leftImg8bit_sequence").rglob("*.png"))
        labels = sorted((root / "truth").rglob("*_gtFine_labelIds.png"))
        found = []
        for begin in range(0, len(images), length):
            pixels = [read_rgb(path) for path in images[begin : begin + length]]
            tensors = [torch.from_numpy(each).permute(2, 0, 1)[None] for each in pixels]
            frames = list(observed([ObservedPixels(each) for each in tensors], nothing, RUNTIME, Stopwatch()))
            ids = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in labels[begin : begin + length]]
            truth = [classes.train_id_of[each] for each in ids]
            found.append(Snippet(frames, truth, [edges(each) for each in truth]))
    return found


def read_rgb(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def edges(truth: np.ndarray) -> np.ndarray:
    """Which pixels [H,W] have another class within RADIUS."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RADIUS + 1, 2 * RADIUS + 1))
    return cv2.dilate(truth, disk) != cv2.erode(truth, disk)


def score(
    network: SegmentationNetwork, settings: SchemeSettings, snippets: Sequence[Snippet], first: int, num_classes: int
) -> Found:
    """Score the frames from `first` on, in every state in which the scheme meets them."""
    nothing = np.zeros((num_classes, num_classes + 1), np.int64)
    found = Found(nothing.copy(), nothing.copy())
    stepper = open_stepper(network, settings)
    macs = stage_macs(network, snippets[0].truth[0].shape)
    for snippet in snippets:
        for start in range(len(stepper.phases)):
            for step in stepped(stepper, snippet.frames[start:], RUNTIME, Stopwatch()):
                if step.number < first:
                    continue
                truth, labels = snippet.truth[step.number], step.labels.numpy()
                near = np.where(snippet.edges[step.number], truth, np.uint8(255))
                found.counts += confusion(truth, labels, num_classes)
                found.at_edges += confusion(near, labels, num_classes)
                found.macs.append(sum(macs[name] for name in step.cost.ran))
                found.full.append("context" in step.cost.ran)
    return found


def schemes(network: SegmentationNetwork, snippets: Sequence[Snippet]) -> Mapping[str, SchemeSettings]:
    """By title; adaptive clocks as they are calibrated on these snippets, of which no label is looked at."""
    found = {
        "every frame": SchemeSettings(name="per-frame"),
        "skip every other": SchemeSettings(name="copy", interval=2),
        "skip three of four": SchemeSettings(name="copy", interval=4),
    }
    num_stages = len(clock_stages(network))
    for rates in ((*[1] * (num_stages - 1), 2), (*[1] * (num_stages - 3), 1, 2, 4)[-num_stages:]):
        found[f"fixed {','.join(map(str, rates))}"] = SchemeSettings(name="clockwork", rates=rates)
    frames = [seen for snippet in snippets for seen in snippet.frames]
    of_scores = any(name.startswith(f"{network.cuts[-1]}.") for name in network.head)
    for signal in ("feature", "pixels", *(("argmax", "padded-argmax") if of_scores else ())):
        for share in (1 / 2, 1 / 4):
            threshold = calibrate(network, frames, share, signal=signal).threshold
            settings = SchemeSettings(name="adaptive-clockwork", signal=signal, threshold=threshold)
            found[f"adaptive {signal}, {share:.0%}: θ {threshold:.3f}"] = settings
    for steps in range(2, num_stages + 1):
        found[f"pipeline of {steps}"] = SchemeSettings(name="pipelined-clockwork", pipeline=steps)
    return found


def print_scores(network: SegmentationNetwork, title: str, snippets: Sequence[Snippet], first: int, num: int) -> None:
    print(f"\n{title}\n\n| | accuracy | mIoU | mIoU at edges | GMACs | last stage |\n|---|---:|---:|---:|---:|---:|")
    for name, settings in schemes(network, snippets).items():
        found = score(network, settings, snippets, first, num)
        scores = [100 * each for each in (accuracy(found.counts), mean_iou(found.counts), mean_iou(found.at_edges))]
        numbers = " | ".join(f"{each:.2f}" for each in scores)
        print(f"| {name} | {numbers} | {np.mean(found.macs) / 1e9:.2f} | {np.mean(found.full):.0%} |", flush=True)


def print_changes(network: SegmentationNetwork, snippets: Sequence[Snippet]) -> None:
    """How fast outputs change: of the network's cuts, its context and its scores; means over snippets."""
    stages = (*network.cuts, "context", "decoder")
    means: dict[str, list[tuple[float, float]]] = {name: [] for name in (IMAGE, *stages)}
    for snippet in snippets:
        found = changes(network, snippet.frames, stages)
        for name, values in means.items():
            relative = np.mean([each.relative[name] for each in found])
            values.append((float(relative), float(np.mean([each.classes.get(name, np.nan) for each in found]))))
    labels = np.mean([(one != other).mean() for each in snippets for one, other in pairwise(each.truth)])
    print("\n| | relative difference | classes that differ |\n|---|---:|---:|")
    for name, values in means.items():
        relative, classes = np.mean(values, axis=0)
        print(f"| {name} | {relative:.3f} | {'–' if np.isnan(classes) else f'{classes:.3f}'} |")
    print(f"| labels | | {labels:.3f} |")


def print_latency(network: SegmentationNetwork, seen: Seen, repeats: int = 15) -> None:
    """Milliseconds of each stage of the clock and of what comes after all; what a frame waits for in a pipeline."""
    parts, stages = Parts(network), clock_stages(network)
    seconds: list[list[float]] = [[] for _ in (*stages, LOGITS)]
    with torch.inference_mode():
        for _ in range(repeats):
            found = {IMAGE: seen.image}
            for number, stage in enumerate((*stages, (LOGITS,))):
                begin = perf_counter()
                parts.run(found, stage[-1])
                seconds[number].append(perf_counter() - begin)
    *each, rest = [1000 * median(times) for times in seconds]
    print(f"\n{' + '.join(f'{ms:.0f}' for ms in each)} + {rest:.0f} ms of the stages and the decoder: ", end="")
    print(f"a frame takes {sum(each) + rest:.0f} ms", end="")
    for steps in range(2, len(each) + 1):
        last = each[len(each) - steps + 1 :]
        print(f", in a pipeline of {steps} {max(sum(each) - sum(last), *last) + rest:.0f} ms", end="")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", default="192x384")
    parser.add_argument("--snippets", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    trained = open_trained(arguments.weights, RUNTIME)
    network, num_classes = trained.network, trained.network.num_classes
    print(
        f"{network.architecture}, {arguments.snippets} snippets of {height}x{width}, {torch.get_num_threads()} threads"
    )
    for speed in (16, 32, None):
        snippets = snippets_of(trained.classes, (height, width), arguments.snippets, arguments.seed, speed)
        title, first = ("Drives", 8) if speed is None else (f"{speed} pixels a frame", 3)
        print_scores(network, title, snippets, first, num_classes)
    print_changes(network, snippets)
    print_latency(network, snippets[0].frames[0])


if __name__ == "__main__":
    main()
