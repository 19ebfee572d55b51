"""What decides the content of a store is among its settings, so that a run asked for otherwise does not go on in it."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from propagate.carry.sample_settings import SampleSettings
from propagate.datasets.base import DatasetOptions
from propagate.job.config import RunConfig
from sdcnet.motion.registry import MotionSettings

CONFIG = RunConfig(
    dataset="folder",
    options=DatasetOptions(root=Path("data")),
    motion=MotionSettings(name="none"),
    sample_settings=SampleSettings(),
)
OF_SAMPLES = {
    "offsets": (-1, 0, 1),
    "pairing": "joint",
    "history": "annotated",
    "resample": "recursive",
    "min_confidence": 0.5,
    "images": "raw",
    "source": False,
    "one_sided": True,
}
OF_RUNS: dict[str, Any] = {
    "dataset": "camvid",
    "options": replace(CONFIG.options, split="val"),
    "frames": 3,
    "masks": Path("masks"),
    "corrector": Path("corrector.safetensors"),
    "motion": MotionSettings(name="dis"),
    "sample_settings": SampleSettings(images="raw"),
    "clips_per_shard": 1,
    "limit": 1,
}
OF_NO_CONTENT = {"out", "engine", "num_workers", "address"}


@pytest.fixture(autouse=True)
def corrector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corrector.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)


def test_nothing_that_may_be_chosen_is_missing_here() -> None:
    assert {field.name for field in fields(SampleSettings)} == OF_SAMPLES.keys()
    assert {field.name for field in fields(RunConfig)} == OF_RUNS.keys() | OF_NO_CONTENT


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_how_samples_are_made_is_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("propagate.job.config.PREDICTORS", ("none",))  # others need weights
    made = SampleSettings(**{name: OF_SAMPLES[name]})  # type: ignore[arg-type]
    assert asdict(made) != asdict(SampleSettings())
    assert replace(CONFIG, sample_settings=made).settings() != CONFIG.settings()


@pytest.mark.parametrize("name", OF_RUNS)
def test_what_a_run_is_made_of_is_recorded(name: str) -> None:
    assert replace(CONFIG, **{name: OF_RUNS[name]}).settings() != CONFIG.settings()


def test_where_a_sequence_ends_is_recorded() -> None:
    assert replace(CONFIG, options=replace(CONFIG.options, max_gap=2)).settings() != CONFIG.settings()


def test_another_file_of_a_correctors_weights_is_another_setting() -> None:
    with_one = replace(CONFIG, corrector=OF_RUNS["corrector"])
    before = with_one.settings()
    Path("corrector.safetensors").write_bytes(b"others")
    assert with_one.settings() != before
