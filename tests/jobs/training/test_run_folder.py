"""The folder of a training: what a process that was killed has left in it."""

from pathlib import Path

import pytest

from jobs.errors import RunFolderError
from jobs.training.run_folder import begin, save_checkpoint

LEFTOVERS = (".checkpoint.pt.partial", ".checkpoint.pt.0a1b.partial", ".best.safetensors.2c3d.partial")


def test_what_was_half_written_is_removed_when_a_training_goes_on(tmp_path: Path) -> None:
    begin(tmp_path, {"steps": 5}, {})
    save_checkpoint(tmp_path, {"step": 1})
    for name in (*LEFTOVERS, ".holiday.jpg.partial"):
        (tmp_path / name).touch()
    begin(tmp_path, {"steps": 5}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".holiday.jpg.partial", "checkpoint.pt", "config.json"]


def test_a_training_that_is_refused_removes_nothing(tmp_path: Path) -> None:
    begin(tmp_path, {"steps": 5}, {})
    save_checkpoint(tmp_path, {"step": 1})
    (tmp_path / LEFTOVERS[0]).touch()
    with pytest.raises(RunFolderError, match="steps: 5 then, 6 now"):
        begin(tmp_path, {"steps": 6}, {})
    assert (tmp_path / LEFTOVERS[0]).exists()
