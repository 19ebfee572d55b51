"""Trainings whose samples weigh what confidence and offset say: others, unless these say 1 everywhere."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.carried_samples import CLASSES, carried_shards
from helpers.stores import write_store
from safetensors.numpy import load_file

from jobs.errors import RunFolderError
from propagate.data.sample import CONFIDENCE_LEVELS
from segtrain.config import LAST, FitConfig
from segtrain.fit.training import fit

StoreConfig = Callable[[Path], FitConfig]


def trained(config: FitConfig) -> Mapping[str, bytes]:
    fit(config)
    return {name: array.tobytes() for name, array in load_file(config.out / LAST).items()}


@pytest.fixture
def begun(tmp_path: Path, store_config: StoreConfig) -> FitConfig:
    """A step on carried labels of which no two levels are alike in the loss."""
    config = store_config(write_store(tmp_path / "store", carried_shards(), CLASSES))
    return replace(config, crop=(32, 32), scale=(1, 1), epochs=1, epoch_length=4, batch_size=4, class_uniform=0)


def test_confidence_and_offsets_change_what_is_learnt(begun: FitConfig, tmp_path: Path) -> None:
    settings = ({}, {"weigh_by_confidence": True}, {"offset_weights": (0.5,)}, {"offset_weights": (1.0, 1.0)})
    found = [trained(replace(begun, out=tmp_path / str(n), **each)) for n, each in enumerate(settings)]  # type: ignore[arg-type]
    plain, sure, near, same = found
    assert plain == same
    assert plain != sure
    assert plain != near
    assert sure != near
    with pytest.raises(RunFolderError, match="weigh_by_confidence"):
        fit(replace(begun, out=tmp_path / "1"))
    with pytest.raises(RunFolderError, match="weights: None then, SHA-256"):
        fit(replace(begun, out=tmp_path / "1", weigh_by_confidence=True, weights=tmp_path / "2" / "last.safetensors"))


def test_weights_are_over_those_of_the_epoch(begun: FitConfig, tmp_path: Path) -> None:
    """Where all samples are one frame away, it is the same to learn whatever they weigh."""
    shards = [[sample for sample in samples if sample.origin != "pseudo"] for samples in carried_shards()]
    begun = replace(begun, offsets=(-1, 1), shards=(write_store(tmp_path / "carried", shards, CLASSES),))
    plain, half = (
        trained(replace(begun, out=tmp_path / str(number), offset_weights=weights))
        for number, weights in enumerate(((), (0.5,)))
    )
    assert plain == half


def test_offsets_count_too_where_a_part_of_a_step_has_one_image(begun: FitConfig, tmp_path: Path) -> None:
    begun = replace(begun, accumulate=4, freeze_batch_norm=True)
    plain = trained(replace(begun, out=tmp_path / "plain"))
    near = replace(begun, out=tmp_path / "near", offset_weights=(0.5,))
    assert trained(near) != plain
    record = json.loads((near.out / "config.json").read_text())
    del record["settings"]["weighing"]  # as it was when losses were divided by the weights of each part
    (near.out / "config.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="weighing: None then, over their mean in the epoch now"):
        fit(near)


def test_where_all_is_sure_nothing_changes(tmp_path: Path, begun: FitConfig) -> None:
    shards = [
        [replace(sample, confidence=sample.confidence * 0 + CONFIDENCE_LEVELS - 1) for sample in samples]
        for samples in carried_shards()
    ]
    config = replace(begun, shards=(write_store(tmp_path / "sure", shards, CLASSES),))
    plain = trained(replace(config, out=tmp_path / "plain"))
    assert trained(replace(config, out=tmp_path / "weighed", weigh_by_confidence=True)) == plain


def test_weights_of_offsets_are_above_0() -> None:
    with pytest.raises(ValueError, match=r"offset_weights must be above 0, found 1.0, 0.0"):
        FitConfig(out=Path("run"), shards=(Path("store"),), offset_weights=(1.0, 0.0))
