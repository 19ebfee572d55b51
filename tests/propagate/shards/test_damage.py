"""Flipped bits in shards and manifests: an error in a sentence, or nothing at all, but never another sample.

With FAULTS=all (`make faults`) 200 of each; `--capture no` shows how many were refused.
"""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.stores import write_store

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import PropagateError
from propagate.shards import verify
from propagate.shards.reader import open_store
from propagate.shards.verify import verify_store
from segtrain.data.index import index_store

MakeSample = Callable[..., Sample]
Found = tuple[list[Sample], list[np.ndarray]]
NUM_FLIPS = 200 if os.environ.get("FAULTS") == "all" else 30


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make_sample: MakeSample) -> Path:
    samples = [make_sample(number, size=(20, 30)) for number in range(2)]
    return write_store(tmp_path_factory.mktemp("whole") / "store", [samples], load_classes("camvid"))


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "store")


def read(path: Path) -> Found:
    """All that a store holds: its samples, and where their classes lie."""
    store = open_store(path)
    store.manifest.summary()
    return list(store.samples()), list(vars(index_store(store, 64).centroids).values())


def sentence(path: Path, expected: Found) -> str:
    """That of the error that reading the store ends with; empty where it gives what it should."""
    try:
        found = read(path)
    except PropagateError as error:
        return str(error)
    assert same(found, expected)
    return ""


def same(one: Found, other: Found) -> bool:
    (samples, centroids), (other_samples, other_centroids) = one, other
    return all(
        np.array_equal(vars(a)[name], vars(b)[name])
        for a, b in zip(samples, other_samples, strict=True)
        for name in vars(a)
    ) and all(map(np.array_equal, centroids, other_centroids))


def require_sentences(kind: str, said: list[str], least: float) -> None:
    """What was said is a line each time, and often enough it was said; prints how often."""
    refused = [each for each in said if each]
    print(f"{kind}: {len(said)} flips, {len(refused)} refused in a sentence")
    assert not any("\n" in each for each in refused)
    assert len(refused) > least


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def places_of_records(data: bytes) -> list[int]:
    """Where HDF5's own records lie, roughly: bytes in blocks that are neither empty nor the noise of images."""
    blocks = range(0, len(data), 512)
    return [
        place
        for block in blocks
        if any(data[block : block + 512].count(name) for name in (b"OHDR", b"OCHK", b"EAHD", b"EAIB", b"EADB", b"GCOL"))
        for place in range(block, min(block + 512, len(data)))
    ]


@pytest.mark.parametrize("where", ["anywhere", "records"])
def test_a_flipped_bit_in_a_shard_never_gives_another_sample(store: Path, where: str) -> None:
    expected = read(store)
    path = store / "shard-00000.h5"
    good = path.read_bytes()
    places = range(len(good)) if where == "anywhere" else places_of_records(good)
    draw = random.Random(f"shard {where}")
    said = []
    for _ in range(NUM_FLIPS):
        path.write_bytes(flipped(good, draw.choice(places), draw.randrange(8)))
        said.append(sentence(store, expected))
        assert len(verify_store(store).faults) == 1
    require_sentences(f"shard, {where}", said, NUM_FLIPS / 4)


def test_a_flipped_bit_in_a_manifest_with_a_right_digest_never_gives_another_sample(store: Path) -> None:
    expected = read(store)
    path = store / "manifest.json"
    good = path.read_bytes()
    begin = good.index(b'"sha256": "') + len(b'"sha256": "')
    draw = random.Random("manifest")
    said = []
    for _ in range(3 * NUM_FLIPS):
        blank = good[:begin] + b"0" * 64 + good[begin + 64 :]
        bad = flipped(blank, draw.randrange(begin + 66, len(good)), draw.randrange(8))
        path.write_bytes(bad.replace(b"0" * 64, hashlib.sha256(bad).hexdigest().encode(), 1))
        said.append(sentence(store, expected))
    require_sentences("manifest", said, NUM_FLIPS)


def test_a_verification_that_is_interrupted_reads_no_more(
    tmp_path: Path, make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [[make_sample(number, size=(20, 30))] for number in range(12)]
    store = write_store(tmp_path / "store", samples, load_classes("camvid"))
    digested: list[Path] = []

    def digest_slowly(path: Path, *_: object) -> None:
        time.sleep(0.05)
        digested.append(path)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "_file_fault", digest_slowly)
    with pytest.raises(KeyboardInterrupt):
        verify_store(store, on_progress=interrupt)
    assert len(digested) < 8
