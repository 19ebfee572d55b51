"""Tar files of samples, opened by the package that they are for."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset

from propagate.data.images import decode_frame
from propagate.data.sample import Sample
from propagate.export import export_store
from propagate.shards.reader import Store


@pytest.mark.parametrize("shard_bytes", [1, 2**30])
def test_what_is_written_is_what_webdataset_reads(
    make_store: Callable[..., Store],
    make_sample: Callable[..., Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shard_bytes: int,
) -> None:
    monkeypatch.setattr("propagate.formats.webdataset.SHARD_BYTES", shard_bytes)
    samples = [make_sample(number, key=f"a.b_{number}", offset=number) for number in range(3)]
    dest = tmp_path / "tars"
    summary = export_store(make_store(samples), dest, "webdataset")
    tars = sorted(dest.glob("*.tar"))
    assert [path.name for path in tars] == [f"val-{number:06d}.tar" for number in range(3 if shard_bytes == 1 else 1)]
    assert (summary.frames, summary.files) == (3, len(tars) + 1)
    assert (dest / "classes.yaml").is_file()
    dataset = webdataset.WebDataset(list(map(str, tars)), shardshuffle=False).decode("rgb8")
    for read, sample in zip(dataset, samples, strict=True):
        np.testing.assert_array_equal(read["png"], decode_frame(bytes(sample.image), sample.key))
        np.testing.assert_array_equal(read["label.png"][..., 0], sample.label)
        np.testing.assert_array_equal(read["confidence.png"][..., 0], sample.confidence)
        about = {name: read["json"][name] for name in ("key", "source_key", "offset", "origin")}
        assert about == {name: getattr(sample, name) for name in about}
    with tarfile.open(tars[0]) as tar:
        assert all(member.mtime == 0 for member in tar.getmembers())
