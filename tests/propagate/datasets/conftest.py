"""Small data sets: trees of tiny files, and the same trees inside zip files."""

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from propagate.data.clip import Clip

Plant = Callable[..., Path]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Make files below tmp_path, or members of a zip file there, that hold their own names; returns the root."""

    def make(names: Iterable[str], archive: str | None = None) -> Path:
        if archive is not None:
            with zipfile.ZipFile(tmp_path / archive, "a", zipfile.ZIP_DEFLATED) as file:
                for name in names:
                    file.writestr(name, name)
            return tmp_path
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        return tmp_path

    return make


@pytest.fixture
def listed_folders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were listed so far."""
    listed: list[str] = []
    scandir = os.scandir

    def spy(path: str | Path) -> object:
        listed.append(str(path))
        return scandir(path)

    monkeypatch.setattr("propagate.datasets.tree.os.scandir", spy)
    return listed


@pytest.fixture
def keys_by_offset() -> Callable[[Clip], dict[int, str]]:
    return lambda clip: {offset: frame.key for offset, frame in clip.frames.items()}
