"""Score the propagated labels of a store against the true labels of the same frames."""

from collections.abc import Callable, Mapping

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.clip import Label
from propagate.data.images import read_label
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, Sample
from propagate.errors import InputError, StoreError
from propagate.scoring.metrics import confusion, trimap
from propagate.scoring.report import OffsetCounts, Report, TruthFailure
from propagate.scoring.truth import TruthLookup
from propagate.shards.reader import Store

BAND_WIDTH = 3


def evaluate_store(
    store: Store, find_truth: TruthLookup, *, on_progress: Callable[[int], object] | None = None
) -> Report:
    """Score every sample of a store whose frame has a truth, one sample in memory at a time.

    Every (annotated frame, neighbour) pair counts by itself; the annotated frames themselves do not count. A truth
    that cannot be used is a failure of the report, and the rest goes on. `on_progress` is called with the number of
    samples dealt with since its last call.

    Raises: StoreError: the store cannot be read, or holds no neighbours, or none of them has a truth.
    DatasetError: the lookup finds two truths for one frame.
    """
    truths = find_truths(store, find_truth)
    classes = store.manifest.classes
    result = Report.empty(classes.train_names)
    for sample in store.samples(images=False):
        if sample.origin != ANNOTATED:
            score_sample(sample, truths.get(sample.key), classes, result)
        if on_progress is not None:
            on_progress(1)
    return result


def find_truths(store: Store, find_truth: TruthLookup) -> Mapping[str, Label]:
    """The truths of the store's neighbours, by key. Raises: as `evaluate_store`."""
    records = list(store.records())
    if not records:
        raise StoreError(f"{store.path}: holds no samples yet; `{store.manifest.command}` goes on with it")
    keys = sorted({record.key for record in records if record.origin != ANNOTATED})
    if not keys:
        raise StoreError(
            f"{store.path}: holds no propagated samples, only annotated frames, so there is nothing to "
            "score; write a store with `propagate run --frames 1` or more"
        )
    truths = find_truth(keys)
    if not truths:
        raise StoreError(
            f"{store.path}: none of its {len(keys)} propagated frames (such as {keys[0]}) has a true label "
            "map; give --truth DIR, a directory in which there are KEY.png or KEY_gtFine_labelIds.png, however deep"
        )
    return truths


def score_sample(sample: Sample, label: Label | None, classes: ClassTable, result: Report) -> OffsetCounts | None:
    """Add what the truth says of a sample to a report -> its own counts; None where the truth says nothing.

    label: the truth's file, if there is one; where it cannot be used, that is a failure of the report.
    """
    if label is None:
        result.without_truth += 1
        return None
    try:
        truth = read_truth(label, sample, classes)
    except InputError as error:
        result.failures.append(TruthFailure(sample.key, sample.source_key, sample.offset, error.path, error.reason))
        return None
    train_ids = classes.train_id_of[truth]
    prediction = classes.train_id_of[sample.label]
    counts = _count(train_ids, prediction, len(classes.train_names))
    result.add(sample.offset, counts, count_reliability(train_ids, prediction, sample.confidence))
    return counts


def read_truth(label: Label, sample: Sample, classes: ClassTable) -> np.ndarray:
    """The label ids that a sample should have, [H,W] uint8. Raises: InputError, also for a truth of another size."""
    truth = read_label(label, classes)
    _require_same_size(truth, sample, str(label.resource))
    return truth


def _count(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> OffsetCounts:
    band = trimap(truth, BAND_WIDTH)
    return OffsetCounts(
        samples=1,
        whole=confusion(truth, prediction, num_classes),
        band=confusion(truth[band], prediction[band], num_classes),
    )


def _require_same_size(truth: np.ndarray, sample: Sample, where: str) -> None:
    if truth.shape != sample.size:
        raise InputError(
            where,
            f"is {truth.shape[0]}x{truth.shape[1]} (HxW), its sample {sample.size[0]}x{sample.size[1]}; "
            "a truth must have the size of the frame that was propagated to",
        )


def count_reliability(truth: np.ndarray, prediction: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Count the wrong and the right pixels of each confidence level -> [16,2] int64 (wrong, right).

    truth, prediction: uint8 train ids. levels: uint8 0…15. Pixels that the truth ignores, and those that were
    predicted as no class (what a confidence is worth shows in the classes it stands for), are left out.
    """
    scored = (truth != IGNORE_TRAIN_ID) & (prediction != IGNORE_TRAIN_ID)
    bins = levels * np.uint8(2) + (truth == prediction)
    counts = np.bincount(bins[scored], minlength=2 * CONFIDENCE_LEVELS)
    return counts.reshape(CONFIDENCE_LEVELS, 2).astype(np.int64)
