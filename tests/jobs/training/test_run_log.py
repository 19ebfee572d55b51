"""The records of a training."""

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.errors import RunFolderError
from jobs.training.run_log import LOG, RunLog

FULL = Path("/dev/full")


def test_each_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    log.write(3, loss=0.5, classes={"road": 1})
    log.write(4, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert lines == [{"step": 3, "loss": 0.5, "classes": {"road": 1}}, {"step": 4, "device": "cpu"}]
    log.close()


@pytest.mark.skipif(not FULL.exists(), reason="no device here that is always full")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    for stream in ("_lines", "_events"):
        log = RunLog(tmp_path, 0)
        getattr(log, stream).close()
        with FULL.open("ab", buffering=0) as full:
            setattr(log, stream, full)
            with pytest.raises(
                RunFolderError, match=r"full: cannot be written \(No space left on device\); what was saved"
            ):
                log.write(3, loss=0.5)
            log.close()


def test_tensorboard_sees_what_counts_at_once(tmp_path: Path) -> None:
    first = RunLog(tmp_path, 0)
    for step in (1, 2, 3):
        first.write(step, loss=float(step), device="cpu")
    first.draw(3, "picture", torch.zeros(3, 4, 6, dtype=torch.uint8))
    second = RunLog(tmp_path, 2)  # resumed: what was told of steps from 2 on no longer counts
    second.write(2, loss=20.0)
    seen = EventAccumulator(str(tmp_path)).Reload()  # both are still open
    assert [(event.step, event.value) for event in seen.Scalars("loss")] == [(1, 1.0), (2, 20.0)]
    assert [image.step for image in EventAccumulator(first._events.name).Reload().Images("picture")] == [3]
    first.close()
    second.close()
