"""The records of a training."""

import json
from pathlib import Path

import pytest

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
    log = RunLog(tmp_path, 0)
    log._lines.close()
    with FULL.open("ab", buffering=0) as full:
        log._lines = full
        with pytest.raises(
            RunFolderError, match=r"full: cannot be written \(No space left on device\); what was saved"
        ):
            log.write(3, loss=0.5)
        log.close()
