"""What masks from elsewhere do to carried labels: exact instances of synthetic streets, and masks that are poor.

python benchmarks/masks.py [--data ../shared/data] [--keep DIR]

mIoU in the mean over ±1…5 and the calibration error of confidence, of stores that `propagate run --masks` makes; on
DATA/camvid_15hz, if it is there, with superpixels of scikit-image alone. The vote was fitted to other streets.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from skimage.segmentation import slic

from jobs.console.tables import Table
from propagate.data.images import read_label
from propagate.data.sample import ANNOTATED
from propagate.scoring.calibration import expected_calibration_error
from propagate.scoring.evaluate import count_reliability
from propagate.scoring.metrics import confusion, mean_iou
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import open_store
from propagate.synth.config import ANNOTATED_FRAME
from propagate.synth.render import Renderer
from propagate.synth.street import build_scene

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


def propagate(*args: object) -> None:
    subprocess.run([sys.executable, "-m", "propagate", *map(str, args)], stdout=subprocess.DEVNULL, check=True)


def street_frames(
    root: Path, size: tuple[int, int], snippets: int, seed: int
) -> Iterator[tuple[str, np.ndarray, Path]]:
    """The key, the instances [H,W] uint16 from 1 on, and the file of each frame within reach of an annotated one."""
    for snippet in range(snippets):
        scene = build_scene(np.random.default_rng((seed, zlib.crc32(b"train"), 0, snippet)), LENGTH)
        renderer = Renderer(scene, size)
        for number in range(ANNOTATED_FRAME - REACH, ANNOTATED_FRAME + REACH + 1):
            key = f"synthburg_{snippet:06d}_{number:06d}"
            (file,) = root.rglob(f"leftImg8bit_sequence/**/{key}_leftImg8bit.png")
            ids = renderer.instances(number) + np.uint16(1)
            (truth,) = root.rglob(f"truth/**/{key}_gtFine_labelIds.png")
            labels = cv2.imread(str(truth), cv2.IMREAD_UNCHANGED)
            assert all(len(np.unique(labels[ids == each])) == 1 for each in np.unique(ids)), key
            yield key, ids, file


def score(out: Path, truth: Path) -> tuple[float, float]:
    """mIoU in the mean over the distances, and the calibration error of all pixels."""
    store = open_store(out)
    classes = store.manifest.classes
    truths = truth_directory(truth)([record.key for record in store.records()])
    num = len(classes.train_names)
    matrices: dict[int, np.ndarray] = {}
    reliability = np.zeros((16, 2), np.int64)
    for sample in store.samples(images=False):
        if sample.origin != ANNOTATED and sample.key in truths:
            true = classes.train_id_of[read_label(truths[sample.key], classes)]
            predicted = classes.train_id_of[sample.label]
            matrices.setdefault(abs(sample.offset), np.zeros((num, num + 1), np.int64))
            matrices[abs(sample.offset)] += confusion(true, predicted, num)
            reliability += count_reliability(true, predicted, sample.confidence)
    return float(np.mean([mean_iou(matrix) for matrix in matrices.values()])), expected_calibration_error(reliability)


def compare(name: str, folder: Path, truth: Path, options: tuple[object, ...], kinds: list[str]) -> list[list[str]]:
    """A row for the carried labels, and for each kind of masks, which lie in a folder of that name."""
    rows = []
    for kind in (CARRIED, *kinds):
        out = folder / f"shards {kind}"
        masks = () if kind == CARRIED else ("--masks", folder / kind)
        propagate("run", *options, "--frames", REACH, "--out", out, "--engine", "local", *masks)
        miou, error = score(out, truth)
        rows.append([name, kind, f"{miou:.4f}", f"{100 * error:.2f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def write(folder: Path, kind: str, key: str, ids: np.ndarray, frame: np.ndarray) -> None:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / kind / f"{key}.png"), KINDS[kind](ids, frame))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("PROPAGATE_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder of real data")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        for size, (snippets, seed) in STREETS.items():
            name = f"streets of {size[0]}×{size[1]}"
            here = folder / name
            root = here / "street"
            shown = f"{size[0]}x{size[1]}"
            propagate("synth", root, "--size", shown, "--snippets", snippets, "--seed", seed, "--length", LENGTH)
            for key, ids, file in street_frames(root, size, snippets, seed):
                frame = cv2.imread(str(file))[..., ::-1]
                for kind in KINDS:
                    write(here, kind, key, ids, frame)
            rows += compare(name, here, root / "truth", ("--root", root), list(KINDS))
        root = arguments.data / "camvid_15hz"
        if root.is_dir():
            here, kind = folder / "CamVid", "SLIC superpixels"
            for file in sorted((root / "clip").glob("*.png")):
                frame = cv2.imread(str(file))[..., ::-1]
                write(here, kind, file.stem, np.zeros(frame.shape[:2], np.uint16), frame)
            options = ("--root", root, "--dataset", "camvid", "--split", "clip", "--max-gap", 2)
            rows += compare("CamVid", here, root / "truth", options, [kind])
    print(Table(("frames", "masks", "mIoU, mean of ±1…5", "ECE, %"), rows).text())


if __name__ == "__main__":
    main()
