"""What a training keeps of its steps."""

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs.training.recorder import Recorder


@pytest.mark.parametrize("rank", [0, 1])
def test_losses_are_kept_until_a_line_is_due_by_who_writes_it_alone(tmp_path: Path, rank: int) -> None:
    due = SimpleNamespace(log=False, look=False, save=False)
    task: Any = SimpleNamespace(
        state=SimpleNamespace(step=0), beginning=dict, due=lambda _: due, num_steps=9, speed=("images/s", 1)
    )
    member: Any = SimpleNamespace(rank=rank, tell=lambda _: None)
    recorder = Recorder(tmp_path, task, member)
    loss = torch.ones(())
    kept = weakref.ref(loss)
    recorder.after_step(0.1, {"loss": loss}, None)
    del loss
    assert (kept() is not None) == (rank == 0)
    due.log = True
    recorder.after_step(0.1, {"loss": torch.ones(())}, None)
    assert kept() is None
    recorder.close()
