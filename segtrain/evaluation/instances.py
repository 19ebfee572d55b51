"""The instance-level intersection over union of Cityscapes: every object counts alike, however large it is.

Reference: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, section 4.1.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.clip import Resource
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.datasets.tree import Tree

# Pixels, of the training set's instances, by class: facts of the data set, with which its benchmark weights.
MEAN_SIZES: Mapping[str, float] = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
IDS_PER_CLASS = 1000  # an instance's id is its class's label id times this, plus its number; groups have the label id

_LABEL_ENDINGS = ("_labelIds.png", "_labelTrainIds.png")
_INSTANCE_ENDING = "_instanceIds.png"


def find_instance_maps(dataset: str, options: DatasetOptions, keys: Iterable[str]) -> dict[str, Resource] | None:
    """The maps of instances beside the label maps of these frames, by key; None unless every frame has one.

    Only the Cityscapes layout has any. Raises: DatasetError, as `open_dataset` does.
    """
    if dataset != "cityscapes":
        return None
    tree = Tree(options.root, archives=("gtFine*.zip",))
    labels = open_dataset(dataset, options).labels(keys)
    found = {key: _beside(tree, label.resource) for key, label in labels.items()}
    there = {key: resource for key, resource in found.items() if resource is not None}
    return there if there and len(there) == len(found) else None


def _beside(tree: Tree, label: Resource) -> Resource | None:
    folder, _, name = label.name.rpartition("/")
    for ending in _LABEL_ENDINGS:
        beside = name.removesuffix(ending) + _INSTANCE_ENDING
        if name.endswith(ending) and beside in tree.files(folder):
            return tree.resource(f"{folder}/{beside}")
    return None


def count_instances(instances: np.ndarray, prediction: np.ndarray, classes: ClassTable) -> np.ndarray:
    """The pixels of all instances of each class that were found, and missed: [C,2] float64.

    Each pixel weighs the class's mean size / its instance's size. instances: [H,W] uint16. prediction: [H,W] uint8
    train ids. Raises: ValueError where the two differ in size.
    """
    if instances.shape != prediction.shape:
        raise ValueError(f"instances {instances.shape} and prediction {prediction.shape} differ in shape")
    names = {c.id: c.name for c in classes.classes if c.train_id != IGNORE_TRAIN_ID}
    label_ids = np.arange(instances.max(initial=0) + 1) // IDS_PER_CLASS  # 0, unlabelled, for groups
    train_ids = classes.train_id_of[label_ids]
    sizes = np.bincount(instances.ravel(), minlength=len(label_ids))
    hits = np.bincount(instances[train_ids[instances] == prediction], minlength=len(label_ids))
    counts = np.zeros((len(classes.train_names), 2))
    for instance in np.flatnonzero(sizes):
        mean_size = MEAN_SIZES.get(names.get(int(label_ids[instance]), ""))
        if mean_size is not None:
            found = hits[instance]
            weight = mean_size / sizes[instance]
            counts[train_ids[instance]] += found * weight, (sizes[instance] - found) * weight
    return counts


def class_iiou(counts: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """iTP / (iTP + FP + iFN) of each class: [C] float64, NaN where there are no instances.

    counts: [C,2] of `count_instances`. matrix: [C,C+1] of `confusion`, whose false positives count as they are.
    """
    false_positives = matrix[:, : len(matrix)].sum(axis=0) - np.diagonal(matrix)
    present = counts.sum(axis=1)
    out = np.full(len(counts), np.nan)
    return np.divide(counts[:, 0], present + false_positives, out=out, where=present > 0)
