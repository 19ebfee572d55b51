"""The scores of semantic segmentation, from confusion matrices over train ids; numpy and no files.

A confusion matrix here is [C,C+1] int64, entry [i,j] the number of pixels of class i that were predicted as
class j; its last column counts the pixels that were predicted as no class at all. Matrices of several images
add up.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache

import cv2
import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID


def confusion(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Count every pair of true and predicted class -> [C,C+1] int64.

    truth, prediction: uint8 train ids of one shape, whatever it is; 0…C−1, or 255. A pixel that is 255 in the
    truth is not scored; one that is 255 in the prediction alone counts in the last column, as a miss.

    Raises: ValueError for another dtype or shape, and for a train id that is neither a class nor 255.
    """
    if not 0 < num_classes <= IGNORE_TRAIN_ID:
        raise ValueError(f"num_classes must be within 1…{IGNORE_TRAIN_ID}, found {num_classes}")
    if truth.dtype != np.uint8 or prediction.dtype != np.uint8:
        raise ValueError(f"train ids must be uint8, found truth {truth.dtype}, prediction {prediction.dtype}")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape")
    pairs = truth.astype(np.uint16) << 8 | prediction
    counts = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
    _require_train_ids("truth", counts.sum(axis=1), num_classes)
    _require_train_ids("prediction", counts.sum(axis=0), num_classes)
    columns = [*range(num_classes), IGNORE_TRAIN_ID]
    return counts[:num_classes, columns].astype(np.int64)


def _require_train_ids(name: str, counts: np.ndarray, num_classes: int) -> None:
    """counts: [256], how often each value occurs."""
    foreign = [i for i in np.flatnonzero(counts).tolist() if num_classes <= i < IGNORE_TRAIN_ID]
    if foreign:
        raise ValueError(
            f"the {name} holds {foreign}; train ids are 0…{num_classes - 1}, and {IGNORE_TRAIN_ID} for ignored pixels"
        )


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """[C,C+1] or [C,C] counts -> [C] float64, each class's intersection over union; NaN where the union is
    empty.

    Reference: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015.
    """
    num_classes = matrix.shape[0]
    hits = np.diagonal(matrix)
    union = matrix.sum(axis=1) + matrix[:, :num_classes].sum(axis=0) - hits
    return _ratio(hits, union)


def mean_iou(matrix: np.ndarray) -> float:
    """The mean of `class_iou` over the classes whose union is not empty; NaN where there is none."""
    iou = class_iou(matrix)
    present = iou[~np.isnan(iou)]
    return float(present.mean()) if present.size else float("nan")


def covered(matrix: np.ndarray) -> np.ndarray:
    """[C,C+1] -> [C,C]: the pixels that were predicted as some class."""
    return matrix[:, : matrix.shape[0]]


def accuracy(matrix: np.ndarray) -> float:
    """The share of scored pixels whose class is right; NaN where no pixel is scored."""
    return float(_ratio(np.trace(matrix), matrix.sum()))


def coverage(matrix: np.ndarray) -> float:
    """The share of scored pixels that were predicted as some class; NaN where no pixel is scored."""
    return float(_ratio(covered(matrix).sum(), matrix.sum()))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole as float64, NaN where whole is 0."""
    out = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


@dataclass(frozen=True, kw_only=True)
class MatrixScores:
    """The scores of one confusion matrix, each in [0,1], or NaN where nothing was there to score.

    miou counts a pixel without predicted class as a miss; miou_covered leaves such pixels out.
    """

    miou: float
    miou_covered: float
    accuracy: float
    coverage: float

    @classmethod
    def of(cls, matrix: np.ndarray) -> "MatrixScores":
        return cls(
            miou=mean_iou(matrix),
            miou_covered=mean_iou(covered(matrix)),
            accuracy=accuracy(matrix),
            coverage=coverage(matrix),
        )

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def trimap(truth: np.ndarray, width: int = 3, shape: str = "round") -> np.ndarray:
    """The band along the class boundaries of a truth: [H,W] uint8 train ids -> [H,W] bool.

    A pixel lies in the round band if some pixel of another value has its centre at most `width` pixels (Euclidean)
    away; in the square one if it is at most `width`-1 rows, and as many columns, from a pixel beside which (left,
    right, above or below) another value lies. Both have `width` pixels on either side of a straight boundary, and
    differ at its corners and where it is oblique. 255 is a value like any other here, so that a void strip between
    two objects, as annotators leave them, doesn't hide their boundary; scoring leaves the void pixels themselves
    out. The image's border is no boundary.

    Reference: Kohli et al., "Robust Higher Order Potentials for Enforcing Label Consistency", IJCV 2009;
    Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013. Square: Gadde et al.,
    "Semantic Video CNNs through Representation Warping", ICCV 2017, whose program is given 2 width - 1; the even
    numbers, of which it makes a lopsided band, are not offered.
    Deviation: computed as dilation ≠ erosion, by a disk or by a square without its four corners, which is these
    definitions exactly, without edges or a distance map.

    Raises: ValueError for no width, and for another shape.
    """
    if width < 1:
        raise ValueError(f"the band must be at least 1 pixel wide, found {width}")
    if shape not in _KERNELS:
        raise ValueError(f"a band is {' or '.join(_KERNELS)}, found '{shape}'")
    kernel = _KERNELS[shape](width)
    return cv2.dilate(truth, kernel) != cv2.erode(truth, kernel)


@lru_cache(maxsize=8)
def _disk(radius: int) -> np.ndarray:
    """[2r+1,2r+1] uint8, 1 at most `radius` away from the centre."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


@lru_cache(maxsize=8)
def _square(radius: int) -> np.ndarray:
    """[2r+1,2r+1] uint8, 1 but in the four corners: a pixel and those beside it, each as far as r-1 either way."""
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    square[:: 2 * radius, :: 2 * radius] = 0
    return square


_KERNELS = {"round": _disk, "square": _square}
