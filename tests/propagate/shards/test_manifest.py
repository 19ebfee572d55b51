import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from propagate.data.classes import load_classes
from propagate.errors import StoreError
from propagate.shards.manifest import (
    Failure,
    Manifest,
    PlannedClip,
    ShardEntry,
    ShardPlan,
    load_manifest,
    save_manifest,
)


@pytest.fixture
def manifest() -> Manifest:
    clips = (
        PlannedClip(key="a_000019", inputs="1f", before=5, after=5),
        PlannedClip(key="b_000019", inputs="2e", before=5, after=3),
    )
    entry = ShardEntry(
        name="shard-00000.h5",
        sha256="ab",
        content="cd",
        bytes=1234,
        samples=20,
        size=(128, 256),
        offsets={-1: 9, 0: 2, 1: 9},
        origins={"annotated": 2, "propagated": 18},
        labels={0: 20 * 128 * 256 - 20, 7: 20},
        failures=(Failure(clip="b_000019", offset=4, reason="b_000023.png: truncated («Köln»)"),),
    )
    return Manifest(
        dataset="cityscapes",
        split="train",
        settings={"frames": 5, "motion": "dis"},
        versions={"numpy": "2.0"},
        classes=load_classes("cityscapes"),
        plan=(ShardPlan(index=0, size=(128, 256), clips=clips), ShardPlan(index=1, size=None, clips=())),
        shards={0: entry},
    )


def test_it_comes_back_as_it_was_saved(tmp_path: Path, manifest: Manifest) -> None:
    save_manifest(tmp_path, manifest)
    assert load_manifest(tmp_path) == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failures.jsonl", "manifest.json"]


def test_failures_are_there_to_read(tmp_path: Path, manifest: Manifest) -> None:
    save_manifest(tmp_path, manifest)
    line = (tmp_path / "failures.jsonl").read_text(encoding="utf-8")
    assert json.loads(line) == {"clip": "b_000019", "offset": 4, "reason": "b_000023.png: truncated («Köln»)"}


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path, manifest: Manifest) -> None:
    save_manifest(tmp_path, manifest)
    path = tmp_path / "manifest.json"
    good = path.read_bytes()
    for position in random.Random(0).sample(range(len(good) * 8), 400):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        path.write_bytes(bad)
        with pytest.raises(StoreError, match=r"manifest\.json: damaged, its digest does not match"):
            load_manifest(tmp_path)


def test_a_truncated_one_is_damaged_and_a_missing_one_is_no_store(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(StoreError, match="no shard store here"):
        load_manifest(tmp_path)
    save_manifest(tmp_path, manifest)
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match="damaged"):
        load_manifest(tmp_path)


def test_another_schema_version_is_refused_with_advice(tmp_path: Path, manifest: Manifest) -> None:
    save_manifest(tmp_path, replace(manifest, version=99))
    with pytest.raises(StoreError, match="schema version 99, this program reads 1 to 3: use the release that wrote it"):
        load_manifest(tmp_path)


def test_the_summary_counts(manifest: Manifest) -> None:
    summary = manifest.summary()
    assert summary["samples"] == 20
    assert summary["shards"] == {"finished": 1, "planned": 2}
    assert summary["offsets"] == {"-1": 9, "0": 2, "1": 9}
    assert summary["origins"] == {"annotated": 2, "propagated": 18}
    assert summary["classes"] == {"unlabeled": 20 * 128 * 256 - 20, "road": 20}
    assert summary["shortened_clips"] == 1
    assert summary["failures"][0]["clip"] == "b_000019"


def test_the_content_follows_from_the_shards_content_alone(manifest: Manifest) -> None:
    before = manifest.content
    manifest.shards[0] = replace(manifest.shards[0], sha256="other", bytes=1)
    assert manifest.content == before
    manifest.shards[0] = replace(manifest.shards[0], content="other")
    assert manifest.content != before
