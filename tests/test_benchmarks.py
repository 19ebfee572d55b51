"""What binds its arguments late, so that the check of types (`make lint`) does not see them, runs at its smallest."""

import runpy
import sys
from pathlib import Path

import cv2
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def test_all_loaders_of_crops_are_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["loading.py", "--size=64x128", "--crop=32x32", "--frames=1", "--rounds=1"])
    monkeypatch.setattr(cv2, "setNumThreads", lambda _: None)  # it would be for all tests of this process
    runpy.run_path(str(BENCHMARKS / "loading.py"), run_name="__main__")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| PNG", "| store"))]
    assert len(rows) == 8
