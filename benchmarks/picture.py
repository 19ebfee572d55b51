"""The README's picture: frames of a store, their propagated labels and their confidence, by offset.

python benchmarks/picture.py STORE docs/propagation.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_label_ids, overlay
from propagate.data.images import decode_frame
from propagate.data.sample import CONFIDENCE_LEVELS, Sample
from propagate.shards.reader import open_store

OFFSETS = (-5, -2, 0, 2, 5)
WIDTH = 360


def column(sample: Sample, classes: ClassTable) -> np.ndarray:
    """[3H,W,3] uint8: the frame, its labels over it, its confidence (white: sure)."""
    assert isinstance(sample.image, bytes), "the picture is made from a store of encoded images"
    frame = decode_frame(sample.image, sample.key)
    labels = overlay(frame, colours_of_label_ids(sample.label, classes), share=0.65)
    confidence = np.repeat((sample.confidence * (255 // (CONFIDENCE_LEVELS - 1)))[..., None], 3, axis=2)
    rows = [Image.fromarray(picture).resize((WIDTH, WIDTH // 2)) for picture in (frame, labels, confidence)]
    return np.concatenate([np.array(row) for row in rows])


def main() -> None:
    store, dest = open_store(Path(sys.argv[1])), Path(sys.argv[2])
    columns: dict[int, np.ndarray] = {}
    for sample in store.samples():
        if sample.offset in OFFSETS and sample.offset not in columns:
            columns[sample.offset] = column(sample, store.manifest.classes)
    sheet = np.concatenate([columns[offset] for offset in OFFSETS], axis=1)
    Image.fromarray(sheet).save(dest, quality=85)


if __name__ == "__main__":
    main()
