"""Stores of former schema versions are read as ever, and not continued.

`store_version_1.zip` and `store_version_2.zip` were written by the last programs that did: two shards of a clip each,
an annotated frame and one beside it.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.errors import StoreError
from propagate.export import export_store
from propagate.scoring.evaluate import evaluate_store
from propagate.scoring.truth import truth_directory
from propagate.shards.manifest import Manifest, load_manifest
from propagate.shards.reader import open_store
from propagate.shards.transaction import open_transaction
from propagate.shards.verify import verify_store
from segtrain.data.identity import identity
from segtrain.data.index import index_store
from segtrain.data.store_samples import open_store_samples

Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def store(tmp_path: Path, version: int) -> Path:
    path = tmp_path / "store"
    with zipfile.ZipFile(Path(__file__).with_name(f"store_version_{version}.zip")) as archive:
        archive.extractall(path)
    return path


def test_its_samples_are_annotated_at_offset_0_and_propagated_elsewhere(store: Path, version: int) -> None:
    records = list(open_store(store).records())
    assert [(record.key, record.origin) for record in records] == [
        ("seq_00", "annotated"),
        ("seq_01", "propagated"),
        ("seq_10", "annotated"),
        ("seq_11", "propagated"),
    ]
    assert {(record.second_source_key, record.second_offset) for record in records} == {("", 0)}
    assert [len(record.digest) for record in records] == [0 if version == 1 else 64] * 4


def test_its_samples_do_not_say_why_pixels_are_doubtful(store: Path) -> None:
    assert [sample.reason for sample in open_store(store).samples()] == [None] * 4


def test_every_reader_reads_it(store: Path, tmp_path: Path, cli: Cli) -> None:
    assert verify_store(store).faults == ()
    info = cli("info", store)
    assert info.returncode == 0
    assert "origins    annotated: 2, propagated: 2" in info.stdout
    assert export_store(open_store(store), tmp_path / "tree").frames == 4
    assert len(index_store(open_store(store), 64).records) == 4
    assert open_store_samples(store).read(3).image[0, 0].tolist() == [60, 60, 60]
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "seq_01.png").write_bytes(encode_png(np.full((32, 48), 2, np.uint8)))
    report = evaluate_store(open_store(store), truth_directory(tmp_path / "truth"))
    assert (report.scored, report.without_truth) == (1, 1)


IDENTITIES = {
    1: "50b8273f9ed25982a1ad121204fb21d9be5be4d71f81d72df363d99cb1cf7bc7",
    2: "c11d92ab37f84647262f1f8c02d954f96557fa04b1491971bbc2a2c1e19116f8",
}


def test_trainings_know_its_samples_by_what_they_recorded_of_them(store: Path, version: int) -> None:
    assert identity(open_store_samples(store))["sha256"] == IDENTITIES[version]


def test_two_swapped_shards_are_an_error(store: Path) -> None:
    first, second = (store / f"shard-0000{index}.h5" for index in (0, 1))
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(whole)
    said = r"shard-00000\.h5: cannot be opened as .*( bytes, the manifest says|lies in the place of shard 0)"
    with pytest.raises(StoreError, match=said):
        list(open_store(store).shards())


def test_continuing_it_is_refused_with_the_way_on_and_leaves_it_alone(store: Path, version: int) -> None:
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    with (
        pytest.raises(
            StoreError, match=rf"schema version {version}, this program writes 3: .* use the release that began it"
        ),
        open_transaction(store, load_manifest(store)),
    ):
        pass
    (store / ".lock").unlink()
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_overwriting_it_begins_a_store_of_today(store: Path) -> None:
    about = {"dataset": "camvid", "split": "train", "settings": {}, "versions": {}}
    with open_transaction(store, Manifest(**about, classes=load_classes("camvid"), plan=()), overwrite=True):
        pass
    assert load_manifest(store).version == 3
