"""What a configuration trains and validates on."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jobs.errors import FitError
from jobs.training.run_folder import is_begun
from jobs.training.weights import digest
from propagate.data.classes import ClassTable, load_classes
from propagate.errors import DatasetError, StoreError
from propagate.review.decisions import read_decisions
from propagate.shards.manifest import load_manifest
from propagate.shards.verify import verify_store
from segtrain.config import TrainingConfig
from segtrain.data.dataset import SegmentationDataset, join, require_apart
from segtrain.data.identity import groups, identity
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.sampling import COARSELY, Sampling, is_carried
from segtrain.data.store_samples import open_store_samples
from segtrain.data.stored_frames import KnownFrames, stored_frames
from segtrain.data.surroundings import NO_NEIGHBOURS, Surroundings
from segtrain.data.weighing import NO_WEIGHING, Weighing
from segtrain.fit.objective import train_ids

UNUSED_LAYOUT = "cityscapes"  # what is recorded of trainings without a data set, since the first of them
COARSE = {"cityscapes": "cityscapes-coarse"}  # by layout, that of its coarse annotations
# settings that name files of weights
WEIGHTS = ("weights", "trunk_weights", "base", "teacher", "flownet2_weights", "raft_weights")
ALWAYS_PROVEN_BYTES = 2_000_000_000  # a store up to this size is proven within a minute


def prove_stores(config: TrainingConfig) -> None:
    """Read the stores to train on through, as `propagate verify` does, where that is asked for or takes little time.

    A training that goes on proves them only where it is asked to: that they are those it was begun with, `described`
    says, and damage since then is an error when it is read. Raises: StoreError for the first fault.
    """
    for path in config.shards:
        num_bytes = sum(entry.bytes for entry in load_manifest(path).entries())
        if config.verify or (num_bytes <= ALWAYS_PROVEN_BYTES and not is_begun(config.out)):
            faults = verify_store(path).faults
            if faults:
                raise StoreError(f"{faults[0]} ({len(faults)} faults in all; `propagate verify` lists them)")


def open_sources(
    config: TrainingConfig, surroundings: Surroundings = NO_NEIGHBOURS, beside: tuple[int, ...] = ()
) -> tuple[SegmentationDataset, SegmentationDataset | None]:
    """The samples to train on, and those to validate on, if any.

    surroundings: of the former. beside: the offsets of the neighbours that the latter come with, where there are any.

    Raises: DatasetError, StoreError, where they cannot be opened; ReviewError, FitError for decisions that are not of
    the stores' samples, or a store that is given twice; DataError, where their classes differ, or a frame to validate
    on is, or was propagated from, one that is trained on.
    """
    classes = load_classes(config.classes) if config.classes else None
    decisions = _decisions_on(_stores(config), config)
    parts = [
        open_store_samples(
            path,
            min_confidence=config.min_confidence,
            weighing=weighing_of(config),
            classes=classes,
            offsets=surroundings.offsets,
            all_needed=surroundings.all_needed,
            decisions=decided,
        )
        for path, decided in zip(config.shards, decisions, strict=True)
    ]
    if config.shards and config.offsets is not None:
        _require_carried(config, parts)
    if config.trains_on_split is not None:
        stored = stored_frames(zip(config.shards, (part.records for part in parts), decisions, strict=True))
        parts.append(_frames(config, config.trains_on_split, classes, surroundings, without=stored))
    parts = [part for part in parts if part.records]
    if config.coarse_split is not None:
        parts.append(_coarse(config, config.coarse_split, classes, surroundings))
    training = parts[0] if len(parts) == 1 else join(parts)
    if config.data is None or config.val_split is None:
        return training, None
    try:
        held_out = _frames(config, config.val_split, classes, Surroundings((beside,), all_needed=False))
    except DatasetError as error:
        raise FitError(f"{error}; or train without validation: --val-split none") from None
    require_apart(training, held_out)
    names = training.classes.train_names
    if held_out.classes.train_names != names:
        found = ", ".join(held_out.classes.train_names)
        raise FitError(
            f"{config.root}: has classes {found}, trained on are {', '.join(names)}; give --classes for both"
        )
    return training, held_out


def _require_carried(config: TrainingConfig, stores: Sequence[SegmentationDataset]) -> None:
    """Raise FitError where stores have no propagated sample at all, of whatever offset."""
    if not any(is_carried(record) for store in stores for record in store.records):
        raise FitError(
            f"{', '.join(map(str, config.shards))}: no propagated sample, at none of --offsets "
            f"{','.join(map(str, config.offsets or ()))}; leave --offsets out, or name a store of `propagate run` with "
            "--frames or --offsets"
        )


def _stores(config: TrainingConfig) -> list[str]:
    """The identities of the stores to train on. Raises: FitError where one is given twice, StoreError."""
    stores = [load_manifest(path).store_id for path in config.shards]
    if len(set(stores)) < len(stores):
        twice = next(path for path, store in zip(config.shards, stores, strict=True) if stores.count(store) > 1)
        raise FitError(f"{twice}: is given more than once, and would count so; give --shards each store once")
    return stores


def _decisions_on(stores: Sequence[str], config: TrainingConfig) -> list[Path | None]:
    """The file of decisions on each of the stores to train on, if there is one. Raises: FitError, ReviewError."""
    by_store: dict[str, Path] = {}
    for path in config.decisions:
        store = read_decisions(path).store
        if store in by_store:
            raise FitError(f"{path}: decisions on the same store as {by_store[store]}; give one file for each store")
        by_store[store] = path
    strangers = [path for store, path in by_store.items() if store not in stores]
    if strangers:
        raise FitError(
            f"{strangers[0]}: decisions on another store than {', '.join(map(str, config.shards))}; give those that "
            "were taken on what is trained on"
        )
    return [by_store.get(store) for store in stores]


def _frames(
    config: TrainingConfig,
    split: str,
    classes: ClassTable | None,
    surroundings: Surroundings,
    *,
    without: KnownFrames | None = None,
) -> SegmentationDataset:
    """The annotated frames of a split of the data set. without: those that are trained on already, or rejected."""
    config = config.found()
    assert config.data is not None
    assert config.dataset is not None
    return open_labelled_frames(
        config.dataset,
        replace(config.data, split=split),
        classes=classes,
        offsets=surroundings.offsets,
        all_needed=surroundings.all_needed,
        without=without,
    )


def _coarse(
    config: TrainingConfig, split: str, classes: ClassTable | None, surroundings: Surroundings
) -> SegmentationDataset:
    """The coarse annotations of a split. Raises: FitError for a data set that has none."""
    config = config.found()
    assert config.data is not None
    if config.dataset not in COARSE:
        raise FitError(
            f"{config.root}: data set '{config.dataset}' has no coarse annotations, {', '.join(COARSE)} has; give "
            "--coarse-split none"
        )
    try:
        return open_labelled_frames(
            COARSE[config.dataset],
            replace(config.data, split=split),
            classes=classes,
            offsets=surroundings.offsets,
            all_needed=surroundings.all_needed,
            origin=COARSELY,
        )
    except DatasetError as error:
        raise FitError(f"{error}; or train without the coarse annotations of --coarse-split: none") from None


def weighing_of(config: TrainingConfig) -> Weighing:
    """What the labels of stored samples count in the loss."""
    return Weighing(by_confidence=config.weigh_by_confidence, by_offset=config.offset_weights)


def open_sampling(config: TrainingConfig, classes: ClassTable) -> Sampling:
    """What an epoch is made of. Raises: FitError for a boost of classes that do not exist."""
    names = tuple(config.boost)
    return Sampling(
        class_uniform=config.class_uniform,
        class_uniform_until=config.class_uniform_until,
        boost=dict(zip(train_ids(names, classes.train_names, "boost"), config.boost.values(), strict=True)),
        coarse_classes=train_ids(config.coarse_classes, classes.train_names, "coarse_classes"),
        propagated=config.propagated,
        propagated_until=config.propagated_until,
        pseudo=config.pseudo,
        max_offset=config.max_offset,
        offsets=config.offsets,
        min_score=config.min_score,
        length=config.epoch_length,
    )


def described(
    config: TrainingConfig, training: SegmentationDataset, held_out: SegmentationDataset | None
) -> dict[str, Any]:
    """What decides the weights and what is measured on the way, as JSON values.

    Weights count by their file's content, samples by their digests, or where they have none by their keys, decisions by
    which samples they reject. Raises: CheckpointError for weights that can't be read.
    """
    elsewhere = {"out", "shards", "decisions", "root", "layout", "classes", "flow_cache", *WEIGHTS}
    settings = {
        each.name: getattr(config, each.name)
        for each in fields(config)
        if each.name not in elsewhere and not each.metadata["passing"]
    }
    for name in WEIGHTS:
        if hasattr(config, name):
            path: Path | None = getattr(config, name)
            settings[name] = None if path is None else digest(path)
    if hasattr(config, "flow_cache"):  # wherever it lies, but motion of whole frames is not quite that of crops
        settings["flow_cache"] = None if config.flow_cache is None else "used"
    settings["dataset"] = config.dataset or UNUSED_LAYOUT
    digests = (read_decisions(path).digest for path in config.decisions)
    settings["decisions"] = sorted(each for each in digests if each is not None)
    if config.offsets is not None:  # annotated frames were trained on without a 0 before
        settings["offsets"] = f"exactly {', '.join(map(str, sorted(config.offsets)))}"
    if weighing_of(config) != NO_WEIGHING:  # losses were divided by the weights of each part of a step before
        settings["weighing"] = "over their mean in the epoch"
    settings["training"] = identity(training)
    settings["validation"] = None if held_out is None else identity(held_out)
    settings["validation_groups"] = None if held_out is None else groups(held_out)
    return settings
