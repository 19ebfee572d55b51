"""What masks from elsewhere do to carried labels: exact instances of synthetic streets, and masks that are poor.

python benchmarks/masks.py [--data ../shared/data]

mIoU in the mean over ±1…5 and the calibration error of confidence, from one side, by DIS; the labels of a frame are
carried once, and each kind of masks votes on them. On DATA/camvid_15hz, if it is there, superpixels of scikit-image
alone. The vote was fitted to other streets.
"""

import argparse
import os
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor

from jobs.console.tables import Table
from jobs.timing import Stopwatch
from propagate.carry.carried import Carried
from propagate.carry.masks import vote
from propagate.carry.opened import open_clip
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.images import read_label
from propagate.data.sample import CONFIDENCE_LEVELS, quantize_confidence
from propagate.datasets.base import Dataset
from propagate.datasets.registry import DatasetOptions, open_dataset
from propagate.scoring.calibration import expected_calibration_error
from propagate.scoring.evaluate import count_reliability
from propagate.scoring.metrics import confusion, mean_iou
from propagate.scoring.truth import truth_directory
from propagate.synth.config import ANNOTATED_FRAME
from propagate.synth.render import Renderer
from propagate.synth.street import build_scene
from propagate.synth.write import write_dataset
from sdcnet.motion.classical import Dis

STREETS = {(256, 512): (6, 41), (512, 1024): (3, 42)}  # snippets, and a seed
LENGTH, REACH = 25, 5
WIDER, ASIDE = 5, 8  # pixels
CARRIED, EXACT = "carried, no masks", "exact instances"


def exact(ids: np.ndarray, frame: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return ids


def dilated(ids: np.ndarray, frame: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """Each instance wider by some pixels all around, smaller ones above larger ones."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * WIDER + 1, 2 * WIDER + 1))
    wider = [cv2.dilate((ids == number).astype(np.uint8), kernel) > 0 for number in np.unique(ids)]
    out = np.zeros_like(ids)
    for number, mask in enumerate(sorted(wider, key=lambda mask: -int(mask.sum())), 1):
        out[mask] = number
    return out


def shifted(ids: np.ndarray, frame: np.ndarray) -> np.ndarray:  # noqa: ARG001
    out = np.zeros_like(ids)
    out[ASIDE:, ASIDE:] = ids[:-ASIDE, :-ASIDE]
    return out


def merged(ids: np.ndarray, frame: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """Instances in pairs, each with one that it touches, as far as there is one left."""
    pairs = set()
    for one, other in ((ids[:, 1:], ids[:, :-1]), (ids[1:], ids[:-1])):
        differ = one != other
        pairs |= set(map(tuple, np.sort(np.stack((one[differ], other[differ]), 1), axis=1).tolist()))
    ordered = sorted(pairs)
    np.random.default_rng(0).shuffle(ordered)
    number, taken = np.arange(int(ids.max()) + 1, dtype=ids.dtype), set[int]()
    for first, second in ordered:
        if first not in taken and second not in taken:
            number[second] = first
            taken |= {first, second}
    return number[ids]


def superpixels(ids: np.ndarray, frame: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return slic(frame, n_segments=600, compactness=10, start_label=1).astype(np.uint16)


def one_mask(ids: np.ndarray, frame: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return np.ones_like(ids)


KINDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    EXACT: exact,
    f"dilated by {WIDER} px": dilated,
    f"shifted by {ASIDE} px": shifted,
    "merged neighbours": merged,
    "SLIC superpixels": superpixels,
    "one mask for everything": one_mask,
}


@dataclass
class Score:
    """Of one kind of masks: confusion matrices by distance, and reliability counts."""

    classes: ClassTable
    matrices: dict[int, np.ndarray] = field(default_factory=dict)
    reliability: np.ndarray = field(default_factory=lambda: np.zeros((CONFIDENCE_LEVELS, 2), np.int64))

    def add(self, distance: int, truth: np.ndarray, label: Tensor, confidence: Tensor) -> None:
        """truth: [H,W] train ids. label: [H,W] label ids."""
        num = len(self.classes.train_names)
        predicted = self.classes.train_id_of[label.numpy()]
        empty = np.zeros((num, num + 1), np.int64)
        self.matrices[distance] = self.matrices.get(distance, empty) + confusion(truth, predicted, num)
        self.reliability += count_reliability(truth, predicted, quantize_confidence(confidence).numpy())

    def cells(self) -> list[str]:
        miou = np.mean([mean_iou(matrix) for matrix in self.matrices.values()])
        return [f"{miou:.4f}", f"{100 * expected_calibration_error(self.reliability):.2f}"]


def instances_of_street(size: tuple[int, int], snippets: int, seed: int) -> dict[str, np.ndarray]:
    """[H,W] uint16 from 1 on, of each frame within reach of an annotated one, by its key."""
    found = {}
    for snippet in range(snippets):
        scene = build_scene(np.random.default_rng((seed, zlib.crc32(b"train"), 0, snippet)), LENGTH)
        renderer = Renderer(scene, size)
        for number in range(ANNOTATED_FRAME - REACH, ANNOTATED_FRAME + REACH + 1):
            found[f"synthburg_{snippet:06d}_{number:06d}"] = renderer.instances(number) + np.uint16(1)
    return found


def look_at_carried(
    dataset: Dataset, truth: Path, look: Callable[[Carried, Tensor, str, np.ndarray, int], None]
) -> None:
    """Carry labels to all neighbours, by DIS, and look at those whose truth is known.

    look: takes what was carried, the frame [1,3,H,W], its key, its true train ids [H,W], and how far away it is.
    """
    classes, estimator = dataset.classes, Dis()
    truth_of = truth_directory(truth)
    for clip in dataset.clips(REACH):
        offset_of = {frame.key: offset for offset, frame in clip.frames.items()}

        def correct(
            carried: Carried, targets: Tensor, keys: Sequence[str], offset_of: Mapping[str, int] = offset_of
        ) -> Carried:
            (key,) = keys  # on the host, a frame at a time
            for label in truth_of(keys).values():
                look(carried, targets, key, classes.train_id_of[read_label(label, classes)], abs(offset_of[key]))
            return carried

        samples = propagate_clip(
            open_clip(clip, classes, Stopwatch()),
            ignore_id=classes.ignore_id,
            estimator=estimator,
            path=path_of(estimator),
            sample_settings=SampleSettings(images="raw", source=False),
            watch=Stopwatch(),
            on_failure=print,
            corrections=[correct],
        )
        for _ in samples:
            pass


def measure(
    name: str, options: DatasetOptions, truth: Path, kinds: Sequence[str], instances: Mapping[str, np.ndarray]
) -> list[list[str]]:
    """A row for the carried labels, and for each kind of masks. instances: of the frames, if they are known."""
    dataset = open_dataset(name, options)
    classes = dataset.classes
    ignored = torch.from_numpy(classes.train_id_of == IGNORE_TRAIN_ID)
    scores: dict[str, Score] = defaultdict(lambda: Score(classes))

    def look(carried: Carried, targets: Tensor, key: str, true: np.ndarray, distance: int) -> None:
        label, confidence = carried.label[0, 0], carried.confidence[0, 0]
        frame = targets[0].permute(1, 2, 0).numpy()
        ids = instances.get(key, np.zeros(true.shape, np.uint16))
        if instances:
            assert all(len(np.unique(true[ids == each])) == 1 for each in np.unique(ids)), key
        scores[CARRIED].add(distance, true, label, confidence)
        for kind in kinds:
            masks = torch.from_numpy(KINDS[kind](ids, frame).astype(np.int32))
            scores[kind].add(distance, true, *vote(label, confidence, masks, ignored))

    look_at_carried(dataset, truth, look)
    return [[kind, *score.cells()] for kind, score in scores.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("PROPAGATE_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder of real data")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    heads = ("frames", "masks", "mIoU, mean of ±1…5", "ECE, %")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for size, (snippets, seed) in STREETS.items():
            root = Path(temporary) / str(seed)
            write_dataset(root, num_snippets=snippets, size=size, length=LENGTH, around=REACH, seed=seed)
            instances = instances_of_street(size, snippets, seed)
            options = DatasetOptions(root=root, split="train")
            found = measure("cityscapes", options, root / "truth", list(KINDS), instances)
            rows += [[f"streets of {size[0]}×{size[1]}", *row] for row in found]
            print(Table(heads, rows).text(), flush=True)
    root = arguments.data / "camvid_15hz"
    if root.is_dir():
        options = DatasetOptions(root=root, split="clip", max_gap=2)
        found = measure("camvid", options, root / "truth", ["SLIC superpixels"], {})
        rows += [["CamVid", *row] for row in found]
        print(Table(heads, rows).text())


if __name__ == "__main__":
    main()
