"""Folders as `propagate report` writes them, of as many invented samples as a test or a measurement needs."""

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from propagate.review.page import page_files

LEVELS, CHUNK = 16, 10_000
SIZE = 64, 128  # height and width of every picture
CLASSES = (
    ("road", "#804080"),
    ("building", "#464646"),
    ("vegetation", "#6b8e23"),
    ("sky", "#4682b4"),
    ("car", "#00008e"),
)
VOID = {"id": 255, "name": "void", "train_id": 255, "color": "#000000", "ignored": True}
REASONS = ("matched", "mismatch", "covered", "entered")
ORIGINS = ("annotated", "propagated", "fused", "refined", "pseudo")


def write_report(out: Path, num_clips: int, *, neighbours: int = 5, drawn: int = 10, **changes: Any) -> None:
    """Write the page and data of clips of 2 * neighbours + 1 samples; changes: fields of the store.

    Row 0 is the worst sample: scores rise with the row within an offset, and fall with the offset.
    """
    generator = np.random.default_rng(1)
    offsets = np.tile(np.arange(-neighbours, neighbours + 1), num_clips)
    clips = np.repeat(np.arange(num_clips), 2 * neighbours + 1)
    score = 1 - 0.08 * np.abs(offsets) / neighbours - 0.05 * generator.random(len(offsets)) * (offsets != 0)
    order = np.argsort(score, kind="stable")
    offsets, clips, score = offsets[order], clips[order], score[order]
    num_rows, num_groups = len(order), max(1, num_clips // 20)
    store: dict[str, Any] = {
        "version": 1,
        "name": "shards",
        "store_id": "0123abcd",
        "command": "/data/shards",
        "decisions_file": None,
        "dataset": "cityscapes",
        "split": "train",
        "settings": {},
        "generated_at": "2026-01-01T00:00:00Z",
        "classes": [
            *(labelled(index, *each) for index, each in enumerate(CLASSES)),
            VOID,
        ],
        "levels": LEVELS,
        "sources": [f"town_{clip:06d}_000019" for clip in range(num_clips)],
        "sources_drawn": [1] * num_clips,
        "groups": [f"town_{group:03d}" for group in range(num_groups)],
        "origins": ORIGINS,
        "rows": num_rows,
        "drawn": min(drawn, num_rows),
        "has": {"truth": False, "against": False, "reasons": True},
        "against": None,
        "reasons": REASONS,
        "histograms": _histograms(neighbours, generator),
        "truth_table": None,
        "verdict": "Up to ±3 at least 95 % of the pixels of every offset are likely right; at ±4 they are 94.1 %.",
        "server": None,
        "decisions": None,
        **changes,
    }
    store["chunks"] = [f"rows-{number:03d}.js" for number in range(-(-num_rows // CHUNK))]
    files = page_files(store["name"])
    files["data/store.js"] = call("store", store)
    for number, name in enumerate(store["chunks"]):
        part = slice(number * CHUNK, (number + 1) * CHUNK)
        files[f"data/{name}"] = call("rows", _rows(store, part, offsets, clips, score, generator))
    for row in range(store["drawn"]):
        files[f"data/p-{row}.js"] = call("picture", row, picture(generator, store))
        files[f"data/s-{clips[row]}.js"] = call("source", int(clips[row]), source(generator))
    for path, content in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content)


def labelled(index: int, name: str, color: str) -> dict[str, Any]:
    """A trained class, as the store has it."""
    return {"id": index, "name": name, "train_id": index, "color": color, "ignored": False}


def call(name: str, *values: Any) -> bytes:
    """A script that calls a function of the page's `report` with JSON in which nothing ends the script."""
    text = ", ".join(json.dumps(value, separators=(",", ":")) for value in values)
    return f"report.{name}({text.translate(_ESCAPES)})\n".encode()


_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def picture(generator: np.random.Generator, store: Mapping[str, Any]) -> dict[str, Any]:
    """A sample's picture: bands of classes, doubtful along the left edge and where they meet."""
    height, width = SIZE
    label = _bands()
    level = np.full((height, width), 15, np.uint8)
    level[:, :6], level[height // 2 - 2 : height // 2 + 2, 20:60] = 2, 5
    reason = np.zeros((height, width), np.uint8)
    reason[:, :6], reason[height // 2 - 2 : height // 2 + 2, 20:40], reason[height // 2, 40:60] = 3, 2, 1
    other = packed(np.roll(label, 2, axis=0))
    return {
        "width": width,
        "height": height,
        "full_width": 2 * width,
        "full_height": 2 * height,
        "frame": _frame(generator),
        "label": packed(label),
        "confidence": packed(level | reason << 4),
        "truth": other if store["has"]["truth"] else None,
        "against": other if store["has"]["against"] else None,
    }


def source(generator: np.random.Generator) -> dict[str, Any]:
    height, width = SIZE
    return {"width": width, "height": height, "frame": _frame(generator), "label": packed(_bands())}


def packed(values: np.ndarray) -> str:
    return b64encode(zlib.compress(values.astype(np.uint8).tobytes())).decode()


def _bands() -> np.ndarray:
    height, width = SIZE
    return np.repeat(np.arange(height) * len(CLASSES) // height, width).reshape(height, width).astype(np.uint8)


def _frame(generator: np.random.Generator) -> str:
    coarse = generator.integers(40, 216, (4, 8, 3), np.uint8)
    image = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    return "data:image/jpeg;base64," + b64encode(cv2.imencode(".jpg", image)[1].tobytes()).decode()


def _histograms(neighbours: int, generator: np.random.Generator) -> dict[str, Any]:
    num_classes = len(CLASSES)
    pixels = (generator.dirichlet(np.full(num_classes, 2.0)) for _ in range(2))
    annotated, propagated = ([*map(float, each), 0.0] for each in pixels)
    return {
        "by_offset": {str(n): _levels(0.01 + 0.02 * abs(n)) for n in range(-neighbours, neighbours + 1)},
        "by_class": {str(index): _levels(0.02 * (index + 1)) for index in range(num_classes)},
        "pixels": {"annotated": annotated, "propagated": propagated},
    }


def _levels(doubtful: float) -> list[float]:
    """Shares of the levels, of which half of the doubtful are at the lowest."""
    return [doubtful / 2, *[doubtful / 14] * 7, *[doubtful / 7] * 7, 1 - 2 * doubtful]


def _rows(
    store: Mapping[str, Any],
    part: slice,
    offsets: np.ndarray,
    clips: np.ndarray,
    score: np.ndarray,
    generator: np.random.Generator,
) -> dict[str, Any]:
    offsets, clips, score = offsets[part], clips[part], score[part]
    rows, num_groups = len(offsets), len(store["groups"])
    doubtful = np.round(1000 * (1 - score)).astype(int)
    low = doubtful[:, None] * np.array([3, *[1] * 7]) // 10
    low[:, 0] += doubtful - low.sum(axis=1)
    levels = np.hstack([low, np.zeros((rows, 7), int), 1000 - doubtful[:, None]])
    class_score = np.clip(score[:, None] + generator.normal(0, 0.05, (rows, len(CLASSES))), 0, 1).round(3)
    has_car = generator.random(rows) < 0.5
    classes = [list(range(len(CLASSES) if car else len(CLASSES) - 1)) for car in has_car]
    some = np.round(1 - score, 4).tolist()
    none: Sequence[None] = [None] * rows
    return {
        "start": part.start,
        "key": [f"town_{clip:06d}_{19 + offset:06d}" for clip, offset in zip(clips, offsets, strict=True)],
        "source": clips.tolist(),
        "group": (clips % num_groups).tolist(),
        "offset": offsets.tolist(),
        "pairing": [0] * rows,
        "origin": (offsets != 0).astype(int).tolist(),
        "digest": [f"{row:064x}" for row in range(part.start, part.start + rows)],
        "score": score.round(4).tolist(),
        "doubtful": (doubtful / 1000).tolist(),
        "fresh": (doubtful / 2000).round(4).tolist() if store["has"]["reasons"] else none,
        "levels": levels.tolist(),
        "classes": classes,
        "class_score": [row[: len(c)] for row, c in zip(class_score.tolist(), classes, strict=True)],
        "drawn": [int(row < store["drawn"]) for row in range(part.start, part.start + rows)],
        "miou": score.round(4).tolist() if store["has"]["truth"] else none,
        "wrong": some if store["has"]["truth"] else none,
        "differs": some if store["has"]["against"] else none,
    }
