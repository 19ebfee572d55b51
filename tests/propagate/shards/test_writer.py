import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.drivers import PATIENCE

from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.manifest import PlannedClip, ShardPlan
from propagate.shards.reader import Shard
from propagate.shards.schema import ShardPlace, columns
from propagate.shards.writer import ShardSummary, ShardWriter, _FaultKeepingFile

MakeSample = Callable[..., Sample]
PLAN = ShardPlan(index=0, size=(70, 90), clips=(PlannedClip(key="seq_000000", inputs="1f", before=0, after=0),))
PLACE = ShardPlace(store_id="5a", shard_index=0, num_shards=1, classes="{}")


def write(path: Path, samples: Iterable[Sample], images: str = "encoded") -> ShardSummary:
    first, *_ = samples = list(samples)
    with ShardWriter(path, first.size, images, PLACE) as writer:
        for sample in samples:
            writer.add(sample)
        return writer.finish()


def same(a: Sample, b: Sample) -> bool:
    return all(np.array_equal(vars(a)[name], vars(b)[name]) for name in vars(a))


@pytest.mark.parametrize("raw", [False, True])
def test_samples_come_back_as_they_went_in(tmp_path: Path, make_sample: MakeSample, raw: bool) -> None:
    samples = [make_sample(n, raw=raw, offset=n - 2, key=f"straße_{n}") for n in range(5)]
    summary = write(tmp_path / "s.h5", samples, "raw" if raw else "encoded")
    with Shard(tmp_path / "s.h5", PLAN, summary, PLACE) as shard:
        assert len(shard) == 5
        assert all(same(shard.sample(n), sample) for n, sample in enumerate(samples))
    assert summary.offsets == {-2: 1, -1: 1, 0: 1, 1: 1, 2: 1}
    labels = np.concatenate([sample.label.ravel() for sample in samples])
    assert summary.labels == dict(enumerate(np.bincount(labels).tolist()))
    assert summary.bytes == (tmp_path / "s.h5").stat().st_size


@pytest.mark.parametrize("nth", [1, 10, 40, 80])
def test_a_signal_while_hdf5_writes_is_raised_when_it_has_written(
    tmp_path: Path, make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    calls = 0

    def write_interrupted(file: _FaultKeepingFile, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls == nth:
            os.kill(os.getpid(), signal.SIGINT)
        return write_through(file, data)

    write_through = _FaultKeepingFile.write
    monkeypatch.setattr(_FaultKeepingFile, "write", write_interrupted)
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s.h5", (make_sample(n) for n in range(5)))
    assert calls >= nth
    assert not lost
    assert not list(tmp_path.iterdir())
    write(tmp_path / "s.h5", [make_sample(0)])


@pytest.mark.parametrize("images", ["encoded", "raw"])
def test_every_array_is_chunked_checksummed_and_needs_no_plugin(
    tmp_path: Path, make_sample: MakeSample, images: str
) -> None:
    write(tmp_path / "s.h5", [make_sample(0, raw=images == "raw")], images)
    with h5py.File(tmp_path / "s.h5") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(names) == sorted(columns((70, 90), images))
        for name in names:
            assert file[name].fletcher32
            assert file[name].compression in (None, "gzip")
            assert not file[name].shuffle


def test_the_content_hash_knows_every_array_and_nothing_else(tmp_path: Path, make_sample: MakeSample) -> None:
    base = write(tmp_path / "a.h5", [make_sample(1)]).content
    assert write(tmp_path / "b.h5", [make_sample(1)]).content == base
    changes: list[dict[str, object]] = [
        {"key": "other"},
        {"source_key": "other"},
        {"group": "other"},
        {"offset": 3},
        {"pairing": "joint"},
        {"origin": "annotated"},
        {"second_source_key": "other"},
        {"second_offset": -2},
        {"image": b"other"},
        {"label": np.zeros((70, 90), np.uint8)},
        {"confidence": np.zeros((70, 90), np.uint8)},
    ]
    hashes = [write(tmp_path / f"{n}.h5", [make_sample(1, **change)]).content for n, change in enumerate(changes)]
    assert len({base, *hashes}) == len(changes) + 1


def test_one_byte_moved_between_images_is_another_content(tmp_path: Path, make_sample: MakeSample) -> None:
    one = write(tmp_path / "a.h5", [make_sample(1, image=b"ab"), make_sample(2, image=b"c")])
    two = write(tmp_path / "b.h5", [make_sample(1, image=b"a"), make_sample(2, image=b"bc")])
    assert one.content != two.content


def test_a_sample_of_another_size_is_refused_and_leaves_no_file(tmp_path: Path, make_sample: MakeSample) -> None:
    with pytest.raises(ValueError, match=r"\(71, 90\) in a shard of \(70, 90\)"):
        write(tmp_path / "s.h5", [make_sample(0), make_sample(1, size=(71, 90))])
    assert not (tmp_path / "s.h5").exists()


def test_a_key_that_does_not_fit_is_refused(tmp_path: Path, make_sample: MakeSample) -> None:
    with pytest.raises(StoreError, match="129 bytes; a shard holds 128: shorten"):
        write(tmp_path / "s.h5", [make_sample(0, key="k" * 129)])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, make_sample: MakeSample) -> None:
    with pytest.raises(StoreError, match=r"nowhere/s\.h5: cannot be written \(No such file or directory\)"):
        write(tmp_path / "nowhere" / "s.h5", [make_sample(0)])


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from propagate.errors import StoreError
from propagate.data.sample import Sample
from propagate.shards.schema import ShardPlace
from propagate.shards.writer import ShardWriter
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
noise = np.random.default_rng(0).integers(0, 16, (256, 256), np.uint8)
sample = Sample(key="k", source_key="k", group="g", offset=0, pairing="label", origin="annotated",
                image=noise.tobytes(), label=noise, confidence=noise, reason=noise // 4)
try:
    place = ShardPlace(store_id="5a", shard_index=0, num_shards=1, classes="{}")
    with ShardWriter(Path(sys.argv[1]), (256, 256), "encoded", place) as writer:
        for _ in range(20):
            writer.add(sample)
        writer.finish()
except StoreError as error:
    print(error)
    print(Path(sys.argv[1]).exists())
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
@pytest.mark.parametrize("limit", [1_000, 100_000, 1_000_000, 1_900_000])
def test_a_full_disk_is_an_error_not_a_crash(tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "s.h5"), str(limit)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert process.returncode == 0, process.stderr
    sentence, left_over = process.stdout.splitlines()
    assert "s.h5: cannot be written (File too large); make room or choose another OUT" in sentence
    assert left_over == "False"


def test_what_is_read_back_otherwise_is_no_shard(
    tmp_path: Path, make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("propagate.shards.writer.content_hash", lambda *_: "0" * 64)
    with pytest.raises(StoreError, match=r"s\.h5: what was read back is not what was written: check disk and memory"):
        write(tmp_path / "s.h5", [make_sample(0)])
    assert not list(tmp_path.iterdir())


def test_a_shard_is_on_the_disk_before_it_is_read_back(
    tmp_path: Path, make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write(tmp_path / "s.h5", [make_sample(0)])
    assert synced == [str(tmp_path / "s.h5")]
