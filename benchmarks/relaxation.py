"""Boundary label relaxation: nine shifted one-hots and their loss, as published, against bit masks and ours, in a run.

python benchmarks/relaxation.py [--size 720x720] [--classes 19] [--rounds 9] [--batch 1]

The one-hots come as NumPy's default integers, and as bytes, the best that this way can do. One thread, whose time on
the processor counts, so that what else runs on the machine changes little.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from segtrain.losses.relaxed import RelaxedLoss
from segtrain.losses.weighting import ClassWeighting

IGNORE = 255
BORDER = 1


def street(size: tuple[int, int], num_classes: int, batch: int) -> Tensor:
    """Label maps [B,H,W] uint8 of some hundred overlapping boxes, a twentieth of them ignored."""
    random = np.random.default_rng(0)
    labels = np.zeros((batch, *size), np.uint8)
    for label in labels:
        for _ in range(size[0] * size[1] // 2500):
            top, left = random.integers(0, size[0]), random.integers(0, size[1])
            height, width = random.integers(4, 120, 2)
            value = IGNORE if random.random() < 0.05 else random.integers(num_classes)
            label[top : top + height, left : left + width] = value
    return torch.from_numpy(labels)


def shifted_one_hots(label: np.ndarray, num_classes: int, dtype: type) -> np.ndarray:
    """[H,W] -> [C+1,H,W]: one one-hot for each shift of the window, united."""
    height, width = label.shape
    rows: np.ndarray = np.eye(num_classes + 1, dtype=dtype)
    padded = np.pad(np.where(label == IGNORE, num_classes, label).astype(np.int64), BORDER, constant_values=num_classes)
    target: np.ndarray = np.zeros((height, width, num_classes + 1), dtype)
    for dy in range(2 * BORDER + 1):
        for dx in range(2 * BORDER + 1):
            target |= rows[padded[dy : dy + height, dx : dx + width]]
    return np.ascontiguousarray(target.transpose(2, 0, 1))


def published_loss(logits: Tensor, target: Tensor) -> Tensor:
    """logits [B,C,H,W], target [B,C+1,H,W] uint8 -> −(1/n)·Σ t·w·log(max(s, t·Σ(s·t))), image by image."""
    total = logits.new_zeros(())
    for image_logits, image_target in zip(logits, target, strict=True):
        share = image_target.sum(dim=(1, 2)).float()[:-1] / image_target.sum()
        weight = (share != 0) * (1 - share) + 1
        t = image_target[:-1].float()
        n = t.sum(dim=0)
        s = F.softmax(image_logits, dim=0)
        log = torch.log(torch.maximum(s, t * (s * t).sum(dim=0)))
        per_pixel = -(t * weight[:, None, None] * log).sum(dim=0) / n.clamp(min=1)
        total = total + per_pixel.sum() / ((n > 0).sum() + 1)
    return total


def best_seconds(rivals: list[Callable[[], object]], rounds: int) -> list[float]:
    """The processor's best time for each in some rounds, taken in turns, after one that warms up."""
    best = [math.inf] * len(rivals)
    for number in range(rounds + 1):
        for index, work in enumerate(rivals):
            begin = time.process_time()
            work()
            if number:
                best[index] = min(best[index], time.process_time() - begin)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="720x720")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    height, width = map(int, arguments.size.split("x"))
    num_classes = arguments.classes
    labels = street((height, width), num_classes, arguments.batch)
    logits = torch.randn(arguments.batch, num_classes, height, width, requires_grad=True)
    loss = RelaxedLoss(border=BORDER, weighting=ClassWeighting())

    def one_hots(dtype: type) -> Tensor:
        return torch.from_numpy(np.stack([shifted_one_hots(label, num_classes, dtype) for label in labels.numpy()]))

    target = loss.target(labels, num_classes)
    torch.testing.assert_close(loss(logits, labels), published_loss(logits, one_hots(np.uint8)), rtol=1e-5, atol=0)
    works: dict[str, tuple[Callable[[type], object], Callable[[], object]]] = {
        "target": (one_hots, lambda: loss.target(labels, num_classes)),
        "target and loss": (
            lambda dtype: published_loss(logits.detach(), one_hots(dtype)),
            lambda: loss(logits.detach(), labels),
        ),
        "target, loss and gradient": (
            lambda dtype: published_loss(logits, one_hots(dtype)).backward(),
            lambda: loss(logits, labels).backward(),
        ),
    }
    relaxed = len(target.pixel) / labels.numel()
    print(
        f"{arguments.batch} x {arguments.size}, {num_classes} classes, {relaxed:.0%} of pixels with a set, "
        f"one thread, best of {arguments.rounds} rounds\n"
    )
    print("| ms | one-hots, int64 | one-hots, uint8 | ours | times faster than int64 | than uint8 |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (published, own) in works.items():
        rivals: list[Callable[[], object]] = [partial(published, np.int64), partial(published, np.uint8), own]
        plain, lean, ours = (1000 * value for value in best_seconds(rivals, arguments.rounds))
        print(f"| {name} | {plain:.1f} | {lean:.1f} | {ours:.1f} | {plain / ours:.1f} | {lean / ours:.1f} |")


if __name__ == "__main__":
    main()
