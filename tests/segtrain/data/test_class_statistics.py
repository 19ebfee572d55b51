"""How much of each class a store holds, by the library and by `segtrain index`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.drivers import PATIENCE

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.shards.reader import open_store
from segtrain.cli.index import index as command
from segtrain.data.class_statistics import ClassStatistics
from segtrain.data.index import index_store

CAMVID = load_classes("camvid")
SKY, BUILDING, POLE = 0, 1, 2  # label ids and train ids


@pytest.fixture
def store(make_sample: Callable[..., Sample], save_store: Callable[..., Path]) -> Path:
    """Two samples of 100x200: sky above 60 rows of building; in the second a pole, and void, over the building."""
    first = np.full((100, 200), SKY, np.uint8)
    first[40:] = BUILDING
    second = first.copy()
    second[40:, 130:140] = POLE
    second[40:, :30] = CAMVID.ignore_id
    labels = (first, second)
    return save_store([[make_sample(n, size=(100, 200), label=label) for n, label in enumerate(labels)]], CAMVID)


def test_pixels_samples_and_centroids(store: Path) -> None:
    statistics = ClassStatistics.of(index_store(open_store(store), 128))
    assert statistics.num_samples == 2
    assert statistics.names == CAMVID.train_names
    assert statistics.pixels.tolist() == [16000, 60 * (200 + 160), 600] + [0] * 8
    assert statistics.samples.tolist() == [2, 2, 1] + [0] * 8
    assert statistics.centroids.tolist() == [4, 4, 1] + [0] * 8
    np.testing.assert_allclose(statistics.share[:3], np.array([16000, 21600, 600]) / 38200)
    assert statistics.absent == CAMVID.train_names[3:]


def test_the_command_prints_json_that_says_the_same(store: Path) -> None:
    result = CliRunner().invoke(command, [str(store), "--tile", "64", "--json"])
    assert result.exit_code == 0
    statistics = ClassStatistics.of(index_store(open_store(store), 64))
    assert json.loads(result.stdout) == {"store": str(store), "tile": 64, **statistics.to_json()}
    answer = json.loads(result.stdout)
    assert answer["samples"] == 2
    assert answer["absent"] == list(CAMVID.train_names[3:])
    assert answer["classes"][POLE] == {
        "train_id": POLE,
        "name": "Pole",
        "pixels": 600,
        "share": pytest.approx(600 / 38200),
        "samples": 1,
        "centroids": 2,  # it stands in two rows of tiles
    }


def test_the_command_prints_a_table_and_names_absent_classes(store: Path) -> None:
    result = CliRunner().invoke(command, [str(store)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["class", "pixels", "share", "samples", "centroids"]
    assert lines[2].split() == ["Building", "21,600", "56.545%", "2", "2"]
    assert len(lines) == 1 + 11 + 1
    assert lines[-1].startswith("2 samples, tiles of 1024x1024; without a pixel: Road, Pavement, ")


def test_a_data_set_without_trained_pixels_has_no_shares(
    make_sample: Callable[..., Sample], save_store: Callable[..., Path]
) -> None:
    void = make_sample(0, label=np.full((70, 90), CAMVID.ignore_id, np.uint8))
    statistics = ClassStatistics.of(index_store(open_store(save_store([[void]], CAMVID)), 64))
    assert statistics.share.tolist() == [0] * 11
    assert statistics.absent == CAMVID.train_names


def test_tiles_smaller_than_the_stores_cells_are_refused(store: Path) -> None:
    result = CliRunner().invoke(command, [str(store), "--tile", "32"])
    assert result.exit_code == 2
    assert "32 is not in the range x>=64" in result.stderr


def test_help_and_index_need_no_torch(store: Path) -> None:
    script = (
        "import sys; from segtrain.cli.index import index; "
        f"index([{str(store)!r}], standalone_mode=False); "
        "assert 'torch' not in sys.modules and 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)
