"""One clip in memory: its frames, the labels carried to them, and how sure each pixel is, as a picture.

python examples/one_clip.py [CITYSCAPES_ROOT] [--picture clip.png]

Without a data set, a synthetic one is made beside the picture.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.timing import Stopwatch
from propagate.carry.opened import open_clip
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.images import decode_frame
from propagate.data.sample import CONFIDENCE_LEVELS
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.synth.write import write_dataset
from sdcnet.motion.registry import MotionSettings, open_estimator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", help="a data set in the Cityscapes layout")
    parser.add_argument("--picture", type=Path, default=Path("clip.png"))
    arguments = parser.parse_args()
    root = arguments.root or arguments.picture.parent / "street"
    if not root.exists():
        write_dataset(root, num_snippets=1, size=(96, 192), around=5)

    dataset = open_dataset("cityscapes", DatasetOptions(root=root))
    clip = dataset.clips(num_neighbours=5)[0]
    watch = Stopwatch()
    estimator = open_estimator(MotionSettings(name="dis"))
    samples = propagate_clip(
        open_clip(clip, dataset.classes, watch),
        ignore_id=dataset.classes.ignore_id,
        estimator=estimator,
        path=path_of(estimator),
        sample_settings=SampleSettings(),
        watch=watch,
        on_failure=print,
    )
    columns = {}
    for sample in samples:
        frame = decode_frame(bytes(sample.image), sample.key)
        labels = (0.35 * frame + 0.65 * dataset.classes.palette[sample.label]).astype(np.uint8)
        sure = np.repeat((sample.confidence * (255 // (CONFIDENCE_LEVELS - 1)))[..., None], 3, axis=2)
        columns[sample.offset] = np.concatenate((frame, labels, sure))
        print(f"{sample.key}  offset {sample.offset:+d}  mean confidence {sample.score:.3f}")
    picture = np.concatenate([columns[offset] for offset in sorted(columns)], axis=1)
    Image.fromarray(picture).save(arguments.picture)
    print(f"{arguments.picture}: frames, labels and confidence (white is sure), from left to right in time")


if __name__ == "__main__":
    main()
