"""Fixtures for what shows stores."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from propagate.data.sample import Sample
from propagate.shards.reader import Store

MakeStore = Callable[..., Store]
MakeSample = Callable[..., Sample]


@pytest.fixture
def clip(make_store: MakeStore, make_sample: MakeSample) -> Store:
    """Two clips of an annotated frame and four neighbours each, in one shard."""
    samples = [
        make_sample(
            10 * number + offset + 2,
            key=f"seq_{10 * number + offset + 2:06d}",
            source_key=f"seq_{10 * number + 2:06d}",
            offset=offset,
            confidence=np.full((70, 90), 15 - 2 * abs(offset) - number, np.uint8),
        )
        for number in range(2)
        for offset in (0, -2, -1, 1, 2)
    ]
    return make_store(samples)


@pytest.fixture
def decided(clip: Store, tmp_path: Path) -> Callable[..., Path]:
    """A file of decisions that rejects the samples of these numbers; other fields of the first one may be given."""

    def write(*rejected: int, store: str = "", **changed: object) -> Path:
        records = list(clip.records())
        samples = [
            {
                "source_key": records[number].source_key,
                "offset": records[number].offset,
                "pairing": records[number].pairing,
                "digest": records[number].digest,
                "decision": "reject",
                "at": "2026-11-29T08:00:00Z",
                **changed,
            }
            for number in rejected
        ]
        path = tmp_path / "decisions.json"
        path.write_text(json.dumps({"version": 1, "store": store or clip.manifest.store_id, "samples": samples}))
        return path

    return write
