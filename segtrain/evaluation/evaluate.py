"""Score a network on the annotated images of a data set."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jobs.ahead import ahead
from jobs.training.runtime import Runtime
from propagate.data.clip import Resource
from propagate.data.images import read_instance_ids
from propagate.errors import InputError, PropagateError
from propagate.scoring.metrics import confusion, trimap
from segtrain.data.dataset import Pixels, SegmentationDataset
from segtrain.errors import DataError
from segtrain.evaluation.band import DEFAULT_BAND, Band
from segtrain.evaluation.counts import Counts, CountsFolder
from segtrain.evaluation.instances import count_instances
from segtrain.evaluation.part import WHOLE, Part
from segtrain.evaluation.report import LeftOut, SegmentationReport
from segtrain.inference import Inference, Network, segment

NUM_AHEAD = 2  # images that are read while the network computes


class _Annotated(NamedTuple):
    """instances: [H,W] uint16, or None."""

    number: int
    key: str
    pixels: Pixels
    instances: np.ndarray | None


def evaluate(
    network: Network,
    dataset: SegmentationDataset,
    inference: Inference,
    runtime: Runtime,
    *,
    band: Band = DEFAULT_BAND,
    instance_maps: Mapping[str, Resource] | None = None,
    part: Part = WHOLE,
    kept: CountsFolder | None = None,
    on_found: Callable[[str, np.ndarray], object] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> SegmentationReport:
    """Segment every image of a data set, and count what is right.

    network: in evaluation mode, on the runtime's device, with the data set's classes. band: the pixels that count for
    the trimap IoU. instance_maps: of every image, by key, as `find_instance_maps` gives them, for the iIoU. An image
    that cannot be read is a failure of the report, and the rest goes on. part: the images that are segmented. kept:
    where counts are kept: what is there is not segmented again, and counts whichever part it is of, also where it came
    there meanwhile; images without counts are the report's `missing`. on_found: called with each image's key and what
    was found in it, [H,W] uint8 train ids, as `TemporalMeasure.add` is. on_progress: called with the number of images
    dealt with since its last call.

    Raises: DataError, where there are no images; InferenceError, where the network cannot segment one, or counts cannot
    be kept or read.
    """
    if not dataset.records:
        raise DataError("a data set without any annotated image: there is nothing to score; choose another split")
    classes, keys = dataset.classes, [record.key for record in dataset.records]
    num_classes = len(classes.train_names)
    total = Counts.none(num_classes, with_instances=instance_maps is not None)
    failures: list[LeftOut] = []
    counted = set[int]()
    if kept is not None:
        counted = {number for number, key in enumerate(keys) if kept.get(number, key) is not None}
    to_come = [number for number in part.numbers(len(keys)) if number not in counted]
    if on_progress is not None and (num_before := len(part.numbers(len(keys))) - len(to_come)):
        on_progress(num_before)
    for annotated in ahead(_read(dataset, to_come, instance_maps), NUM_AHEAD):
        if isinstance(annotated, LeftOut):
            failures.append(annotated)
        else:
            truth = annotated.pixels.label
            found = segment(network, annotated.pixels.image, inference, runtime)
            is_near = trimap(truth, band.width, band.shape)
            counts = Counts(
                whole=confusion(truth, found, num_classes),
                near=confusion(truth[is_near], found[is_near], num_classes),
                instances=None if annotated.instances is None else count_instances(annotated.instances, found, classes),
            )
            if kept is not None:
                kept.put(annotated.number, annotated.key, counts)
            else:
                total = total.plus(counts)
            counted.add(annotated.number)
            if on_found is not None:
                on_found(annotated.key, found)
        if on_progress is not None:
            on_progress(1)
    if kept is not None:  # with what other parts counted meanwhile, in one order, as sums of floats depend on it
        for number, key in enumerate(keys):
            if (found_there := kept.get(number, key)) is not None:
                total = total.plus(found_there)
                counted.add(number)
        counted_keys = {keys[number] for number in counted}
        failures = [each for each in failures if each.image not in counted_keys]
    return SegmentationReport(
        class_names=classes.train_names,
        images=len(counted),
        whole=total.whole,
        near=total.near,
        band=band,
        instances=total.instances,
        failures=tuple(failures),
        missing=len(keys) - len(counted) - len(failures),
    )


def _read(
    dataset: SegmentationDataset, numbers: Iterable[int], instance_maps: Mapping[str, Resource] | None
) -> Iterator[_Annotated | LeftOut]:
    """These images of the data set with their truth, or why they cannot be read."""
    for number in numbers:
        record = dataset.records[number]
        try:
            pixels = dataset.read(number)
            instances = None if instance_maps is None else _instances(instance_maps[record.key], pixels.label.shape)
        except (PropagateError, DataError) as error:
            yield LeftOut(image=record.key, reason=str(error))
        else:
            yield _Annotated(number, record.key, pixels, instances)


def _instances(resource: Resource, size: tuple[int, ...]) -> np.ndarray:
    instances = read_instance_ids(resource)
    if instances.shape != size:
        found, expected = ("x".join(map(str, shape)) for shape in (instances.shape, size))
        raise InputError(str(resource), f"is of {found}, its label map of {expected}; both must have one size")
    return instances
