"""Runs with a corrector: what they say of it."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from propagate.carry.corrector import LabelCorrector
from propagate.carry.corrector_files import evidence_settings, save_corrector
from propagate.carry.sample_settings import SampleSettings
from propagate.cli.run import print_summary
from propagate.datasets.registry import DatasetOptions, open_dataset
from propagate.job.config import RunConfig
from propagate.job.run import RunSummary, run
from propagate.shards.reader import open_store
from sdcnet.motion.registry import MotionSettings


def ran(street: Path, out: Path, corrector: Path | None) -> RunSummary:
    """Labels are left in place."""
    options, motion = DatasetOptions(root=street), MotionSettings(name="none")
    return run(
        RunConfig(options=options, out=out, frames=1, limit=1, engine="local", motion=motion, corrector=corrector)
    )


@pytest.mark.parametrize(
    ("motion", "warning"),
    [
        ("none", None),
        ("dis", "taught with labels that were carried otherwise (motion: dis then, none now), and may be wrong"),
        (None, None),  # a file that does not say
    ],
)
def test_a_run_says_how_much_is_corrected_and_whether_it_was_taught_otherwise(
    street: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    motion: str | None,
    warning: str | None,
) -> None:
    """The corrector has learnt that everything is road."""
    classes = open_dataset("cityscapes", DatasetOptions(root=street)).classes
    network = LabelCorrector(len(classes.train_names), cell=2)
    with torch.no_grad():
        network.changes.bias[:4] = 50
    file = tmp_path / "corrector.safetensors"
    taught = {} if motion is None else evidence_settings(motion, SampleSettings())
    save_corrector(file, network, classes, taught_with=taught, about={})
    with caplog.at_level(logging.WARNING):
        corrected, plain = ran(street, tmp_path / "with", file), ran(street, tmp_path / "without", None)
    assert [each.message.count(str(warning)) for each in caplog.records] == ([] if warning is None else [1])
    stores = (open_store(tmp_path / out).samples(images=False) for out in ("without", "with"))
    share = np.mean([one.label != other.label for one, other in zip(*stores, strict=True) if one.offset])
    assert 0.3 < share < 0.9
    assert corrected.corrected == pytest.approx(share)
    assert plain.corrected is ran(street, tmp_path / "with", file).corrected is None
    print_summary(corrected, tmp_path)
    assert f"the corrector changed the labels of {100 * share:.2f} % of the carried pixels" in capsys.readouterr().out
