"""What a training keeps of its steps."""

import json
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs.training import recorder as recorder_module
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


def test_the_pace_is_that_of_the_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second, a look and a checkpoint ten each."""
    now = [0.0]
    monkeypatch.setattr(recorder_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(recorder_module, "save_checkpoint", lambda *_: now.__setitem__(0, now[0] + 10))
    due = SimpleNamespace(log=True, look=True, save=True)
    task: Any = SimpleNamespace(
        state=SimpleNamespace(step=0, saved=dict),
        beginning=dict,
        due=lambda _: due,
        num_steps=9,
        speed=("images/s", 4),
        look=lambda *_: now.__setitem__(0, now[0] + 10),
        save_networks=lambda: None,
        memory=dict,
    )
    recorder = Recorder(tmp_path, task, SimpleNamespace(rank=0, tell=lambda _: None))  # type: ignore[arg-type]
    for step in (1, 2, 3):
        task.state.step = step
        now[0] += 1
        recorder.after_step(0.1, {"loss": torch.ones(())}, None)
    recorder.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images/s"] for line in lines if "loss" in line] == [4, 4, 4]
