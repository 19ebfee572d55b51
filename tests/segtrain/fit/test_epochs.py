"""Epochs that differ in length, since propagated samples are left out of the later ones."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.runs import assert_same_tensors, checkpoint
from torch import Tensor

from jobs.console.progress import Advance
from jobs.errors import RunFolderError
from jobs.training.state import TrainState
from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from segtrain.config import FitConfig
from segtrain.fit.epochs import Epochs
from segtrain.fit.training import fit

MakeSample = Callable[..., Sample]
SaveStore = Callable[..., Path]


def test_steps_fall_into_epochs_of_their_lengths() -> None:
    epochs = Epochs([3, 3, 1])
    assert epochs.total == 7
    assert [epochs.place(step) for step in range(8)] == [
        *((0, 0), (0, 1), (0, 2)),
        *((1, 0), (1, 1), (1, 2)),
        *((2, 0), (3, 0)),
    ]
    assert [epochs.position(step) for step in range(7)] == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])


@pytest.fixture
def augmented(store_config: Callable[[Path], FitConfig], save_store: SaveStore, make_sample: MakeSample) -> FitConfig:
    """Of six samples two are annotated: an epoch with all, then two without those that are propagated."""
    samples = [make_sample(number, offset=offset) for number, offset in enumerate((0, 1, 2, 3, 0, 4))]
    config = store_config(save_store([samples], load_classes("camvid")))
    return replace(config, epochs=3, epoch_length=None, propagated_until=0, learning_rate=0.001)


def test_later_epochs_are_shorter_and_the_rate_falls_by_epochs(augmented: FitConfig) -> None:
    assert fit(augmented).steps == 3 + 1 + 1
    lines = [json.loads(line) for line in (augmented.out / "log.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line}
    assert rates == pytest.approx({3: 0.001 * (1 - 2 / 9), 4: 0.001 * 2 / 3, 5: 0.001 / 3})


def test_a_training_says_how_many_samples_chosen_offsets_leave(augmented: FitConfig) -> None:
    told: list[Advance] = []
    chosen = replace(augmented, epochs=1, propagated_until=None, offsets=(3, 0))
    fit(chosen, told.append)
    assert told[0].line is not None
    assert "on cpu, 3 of 6 samples, 2 steps" in told[0].line
    fit(replace(chosen, offsets=(0, 3)))
    with pytest.raises(RunFolderError, match="offsets: exactly 0, 3 then, exactly 3 now"):
        fit(replace(chosen, offsets=(3,)))


def test_an_interruption_in_a_later_epoch_changes_nothing(
    augmented: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(augmented, out=augmented.out.with_name("whole"))
    fit(whole)
    num_updates, update = 0, TrainState.update

    def stops(state: TrainState[Any], rate: float, loss: Tensor) -> bool:
        nonlocal num_updates
        num_updates += 1
        if num_updates > 4:
            raise KeyboardInterrupt
        return update(state, rate, loss)

    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "update", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(augmented)
    assert checkpoint(augmented.out)["step"] == 4
    assert fit(augmented).steps == 5
    done, expected = checkpoint(augmented.out), checkpoint(whole.out)
    assert done["step"] == expected["step"] == 5
    assert_same_tensors(done["network"], expected["network"])
