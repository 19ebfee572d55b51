"""Score a network on the annotated images of a data set."""

from collections.abc import Callable, Iterator, Mapping
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
from segtrain.evaluation.instances import count_instances
from segtrain.evaluation.report import LeftOut, SegmentationReport
from segtrain.inference import Inference, Network, segment

NUM_AHEAD = 2  # images that are read while the network computes


class _Annotated(NamedTuple):
    """instances: [H,W] uint16, or None."""

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
    on_found: Callable[[str, np.ndarray], object] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> SegmentationReport:
    """Segment every image of a data set, and count what is right.

    network: in evaluation mode, on the runtime's device, with the data set's classes. band: the pixels that count for
    the trimap IoU. instance_maps: of every image, by key, as `find_instance_maps` gives them,
    for the iIoU. An image that cannot be read is a failure of the report, and the rest goes on. on_found: called with
    each image's key and what was found in it, [H,W] uint8 train ids, as `TemporalMeasure.add` is. on_progress: called
    with the number of images dealt with since its last call.

    Raises: DataError, where there are no images; InferenceError, where the network cannot segment one.
    """
    if not dataset.records:
        raise DataError("a data set without any annotated image: there is nothing to score; choose another split")
    classes = dataset.classes
    num_classes = len(classes.train_names)
    whole = np.zeros((num_classes, num_classes + 1), np.int64)
    near = np.zeros_like(whole)
    instances = None if instance_maps is None else np.zeros((num_classes, 2))
    failures: list[LeftOut] = []
    for annotated in ahead(_read(dataset, instance_maps), NUM_AHEAD):
        if isinstance(annotated, LeftOut):
            failures.append(annotated)
        else:
            truth = annotated.pixels.label
            found = segment(network, annotated.pixels.image, inference, runtime)
            is_near = trimap(truth, band.width, band.shape)
            whole += confusion(truth, found, num_classes)
            near += confusion(truth[is_near], found[is_near], num_classes)
            if instances is not None and annotated.instances is not None:
                instances += count_instances(annotated.instances, found, classes)
            if on_found is not None:
                on_found(annotated.key, found)
        if on_progress is not None:
            on_progress(1)
    return SegmentationReport(
        class_names=classes.train_names,
        images=len(dataset.records) - len(failures),
        whole=whole,
        near=near,
        band=band,
        instances=instances,
        failures=tuple(failures),
    )


def _read(dataset: SegmentationDataset, instance_maps: Mapping[str, Resource] | None) -> Iterator[_Annotated | LeftOut]:
    """Every image of the data set with its truth, or why it cannot be read."""
    for number, record in enumerate(dataset.records):
        try:
            pixels = dataset.read(number)
            instances = None if instance_maps is None else _instances(instance_maps[record.key], pixels.label.shape)
        except (PropagateError, DataError) as error:
            yield LeftOut(image=record.key, reason=str(error))
        else:
            yield _Annotated(record.key, pixels, instances)


def _instances(resource: Resource, size: tuple[int, ...]) -> np.ndarray:
    instances = read_instance_ids(resource)
    if instances.shape != size:
        found, expected = ("x".join(map(str, shape)) for shape in (instances.shape, size))
        raise InputError(str(resource), f"is of {found}, its label map of {expected}; both must have one size")
    return instances
