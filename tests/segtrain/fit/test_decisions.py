"""Samples that people rejected are not trained on, and a training is known by which those were."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.decisions import decide
from helpers.stores import write_store

from jobs.errors import FitError, RunFolderError
from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import ReviewError
from segtrain.config import FitConfig
from segtrain.data.dataset import Window
from segtrain.data.store_samples import open_store_samples
from segtrain.errors import DataError
from segtrain.fit.sources import described, open_sources
from segtrain.fit.training import fit

CAMVID = load_classes("camvid")


@pytest.fixture
def store(tmp_path: Path, make_sample: Callable[..., Sample]) -> Path:
    """Six samples of two shards; of class 3, which no other has, the second one of each is full."""
    samples = [
        make_sample(n, size=(64, 80), label=np.full((64, 80), 3 if n in (1, 4) else 1, np.uint8)) for n in range(6)
    ]
    return write_store(tmp_path / "store", [samples[:3], samples[3:]], CAMVID)


def test_rejected_samples_and_their_pixels_are_not_there(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = decide(tmp_path / "d.json", store, 1, 2, 4)
    with caplog.at_level(logging.WARNING):
        samples = open_store_samples(store, decisions=file)
    assert caplog.messages == [f"{store}: 3 of 6 samples are left out, since {file} rejects them"]
    assert [record.offset for record in samples.records] == [0, 3, 5]
    everything = open_store_samples(store)
    for number, place in enumerate((0, 3, 5)):
        found, expected = samples.read(number), everything.read(place, Window(0, 0, 64, 80))
        assert (found.image == expected.image).all()
        assert (found.label == expected.label).all()
    index = samples.index(64)
    assert index.records == samples.records
    assert set(index.centroids.train_id.tolist()) == {1}  # of class 3 nothing is left to draw crops around
    assert index.centroids.num_pixels.sum() == 3 * 64 * 80
    assert set(everything.index(64).centroids.train_id.tolist()) == {1, 3}


def test_a_rejected_frame_may_still_be_a_neighbour(store: Path, tmp_path: Path) -> None:
    samples = open_store_samples(store, offsets=(1,), decisions=decide(tmp_path / "d.json", store, 1))
    assert [record.offset for record in samples.records] == [0, 2, 3, 4]
    (neighbour,) = samples.read(0).neighbours
    assert (neighbour == open_store_samples(store).read(1).image).all()


def test_a_store_of_which_all_is_rejected_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"d.json: rejects all 6 samples of .*store; accept some"):
        open_store_samples(store, decisions=decide(tmp_path / "d.json", store, *range(6)))


def test_each_store_has_its_own_decisions(
    store: Path, tmp_path: Path, make_sample: Callable[..., Sample], store_config: Callable[[Path], FitConfig]
) -> None:
    other = write_store(tmp_path / "other", [[make_sample(n, size=(64, 80)) for n in range(7, 10)]], CAMVID)
    mine, its = decide(tmp_path / "mine.json", store, 0), decide(tmp_path / "its.json", other, 1, 2)
    config = replace(store_config(store), shards=(store, other), decisions=(its, mine))
    training, _ = open_sources(config)
    assert [record.offset for record in training.records] == [1, 2, 3, 4, 5, 7]
    for changed, said in (
        ({"shards": (store,)}, "its.json: decisions on another store than .*store; give those"),
        ({"decisions": (mine, mine)}, "mine.json: decisions on the same store as .*mine.json; give one file for each"),
    ):
        with pytest.raises(FitError, match=said):
            open_sources(replace(config, **changed))
    samples = [{**each, "digest": "0" * 64} for each in json.loads(mine.read_text())["samples"]]
    wrong = replace(config, decisions=(decide(mine, store, samples=samples),))
    with pytest.raises(ReviewError, match="is not what was decided on"):
        open_sources(wrong)


def test_decisions_are_on_a_store(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--decisions on which store"):
        FitConfig(root=tmp_path, out=tmp_path, decisions=(tmp_path / "d.json",))


def test_a_training_is_recorded_with_what_was_rejected(
    store: Path, tmp_path: Path, store_config: Callable[[Path], FitConfig]
) -> None:
    config = store_config(store)

    def recorded(*decisions: Path) -> object:
        changed = replace(config, decisions=decisions)
        return described(changed, *open_sources(changed))["decisions"]

    one = recorded(decide(tmp_path / "1.json", store, 1))
    assert recorded() == recorded(decide(tmp_path / "0.json", store, 1, decision="accept")) == []
    assert recorded(decide(tmp_path / "2.json", store, 2)) != one != []
    assert recorded(decide(tmp_path / "3.json", store, 1)) == one  # whatever the file is called


def test_other_decisions_do_not_go_on_with_a_training(
    store: Path, tmp_path: Path, store_config: Callable[[Path], FitConfig]
) -> None:
    config = replace(store_config(store), epochs=1, epoch_length=2, decisions=(decide(tmp_path / "d.json", store, 1),))
    fit(config)
    fit(config)
    with pytest.raises(RunFolderError, match=r"a training with other settings was begun here \(decisions: "):
        fit(replace(config, decisions=(decide(tmp_path / "e.json", store, 2),)))
    with pytest.raises(RunFolderError, match=r"a training with other settings was begun here \(decisions: "):
        fit(replace(config, decisions=()))
