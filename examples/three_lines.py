"""Labels carried between frames that are arrays, in three lines of Python, without files or a store.

python examples/three_lines.py

The frames are those of a synthetic street, whose labels are all known, so that it can be said how many come out right.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import propagate
from propagate.synth.write import write_dataset

FIRST, ANNOTATED, LAST = 14, 19, 24


def main() -> None:
    if not Path("street").exists():
        write_dataset(Path("street"), num_snippets=1, size=(96, 192), around=5)
    frames = [_read("leftImg8bit_sequence", number, "leftImg8bit") for number in range(FIRST, LAST + 1)]
    truth = [_read("truth", number, "gtFine_labelIds") for number in range(FIRST, LAST + 1)]

    samples = propagate.propagate(frames, truth[ANNOTATED - FIRST], annotated=ANNOTATED - FIRST, motion="dis")
    for sample, true in zip(samples, truth, strict=True):
        right = (sample.label == true).mean()
        print(f"offset {sample.offset:+d}: {right:.1%} of the labels are right, mean confidence {sample.score:.3f}")


def _read(folder: str, number: int, ending: str) -> np.ndarray:
    (path,) = Path("street", folder).rglob(f"*_{number:06d}_{ending}.png")
    return np.asarray(Image.open(path))


if __name__ == "__main__":
    main()
