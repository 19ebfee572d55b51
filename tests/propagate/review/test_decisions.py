"""Decisions: believed only where they fit the store, and what follows from them."""

import errno
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from propagate.errors import ReviewError
from propagate.export import export_store
from propagate.review import decisions as module
from propagate.review.decisions import (
    Decisions,
    default_decisions,
    open_decisions,
    parse_decisions,
    read_decisions,
    save_decisions,
)
from propagate.shards.reader import Store

Decided = Callable[..., Path]
Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_what_was_decided_is_read_and_written_again(clip: Store, decided: Decided, tmp_path: Path) -> None:
    found = open_decisions(decided(1, 7), clip)
    assert found.rejected == {("seq_000002", -2, "label"), ("seq_000012", -1, "label")}
    save_decisions(tmp_path / "again.json", found)
    assert read_decisions(tmp_path / "again.json") == found
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(decided(1, 7).read_text())


def test_the_digest_is_of_what_is_rejected_alone(clip: Store, decided: Decided) -> None:
    one = open_decisions(decided(1, 7), clip)
    assert open_decisions(decided(7, 1, at="2027-01-01T00:00:00+01:00"), clip).digest == one.digest
    assert open_decisions(decided(1), clip).digest != one.digest
    assert open_decisions(decided(1, decision="accept"), clip).digest is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"store": "f" * 64},
            r"decisions on another store \(ffffffffffff…, .* is .*…\); give those that were taken on",
        ),
        (
            {"source_key": "else"},
            r"sample -2 of 'else' \(label\) is not in .*store; look at the store again with",
        ),
        ({"offset": 9}, r"sample \+9 of 'seq_000002' \(label\) is not in"),
        ({"pairing": "joint"}, r"sample -2 of 'seq_000002' \(joint\) is not in"),
        (
            {"digest": "0" * 64},
            r"sample -2 of 'seq_000002' \(label\) in .* is not what was decided on: it was made anew; look at",
        ),
        ({"decision": "perhaps"}, "no file of decisions \\('perhaps' is neither accept nor reject"),
        ({"at": "yesterday"}, "no file of decisions"),
        ({"at": "2026-11-29" + " " * 50}, "is no time"),
        ({"offset": "1"}, r"decisions.samples\[0\].offset must be a whole number, found '1'"),
        ({"offset": True}, r"must be a whole number, found True"),
        (
            {"comment": "no"},
            r"decisions.samples\[0\] must have the fields at, decision, digest, offset, pairing, source_key",
        ),
    ],
)
def test_decisions_that_do_not_fit_are_refused(
    clip: Store, decided: Decided, changed: dict[str, object], said: str
) -> None:
    with pytest.raises(ReviewError, match=said) as caught:
        open_decisions(decided(1, **changed), clip)
    assert str(caught.value).startswith(f"{decided(1)}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "{",
        "[" * 100_000,
        '{"version": 1}',
        '{"version": true, "store": "", "samples": []}',
        "\x80",
        "null",
    ],
)
def test_a_file_of_something_else_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "decisions.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ReviewError, match=r"decisions.json: (no file of )?decisions"):
        read_decisions(path)


def test_a_later_version_a_pipe_and_nothing_at_all_are_refused(clip: Store, tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="decisions of version 2, this program reads 1; update it"):
        parse_decisions(b'{"version": 2}', "x")
    with pytest.raises(ReviewError, match="cannot be read"):
        open_decisions(tmp_path, clip)
    with pytest.raises(ReviewError, match=r"none.json: cannot be read \(No such file"):
        open_decisions(tmp_path / "none.json", clip)


def test_a_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2**20)
    path = tmp_path / "decisions.json"
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ReviewError, match="has more than 1 MiB, expected a file of decisions"):
        read_decisions(path)


def test_two_decisions_on_one_sample_are_refused(clip: Store, decided: Decided) -> None:
    with pytest.raises(ReviewError, match=r"sample -2 of 'seq_000002' \(label\) is decided on twice"):
        open_decisions(decided(1, 1), clip)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "decisions.json"
    save_decisions(path, Decisions(version=1, store="first", samples=()))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReviewError, match=r"cannot be written .*; what was saved before is kept"):
        save_decisions(path, Decisions(version=1, store="second", samples=()))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_decisions_lie_beside_their_store() -> None:
    assert default_decisions(Path("/data/shards/")) == Path("/data/shards.decisions.json")


def test_rejected_samples_are_not_exported(clip: Store, decided: Decided, tmp_path: Path) -> None:
    summary = export_store(clip, tmp_path / "tree", decisions=open_decisions(decided(1, 7), clip))
    assert (summary.frames, summary.superseded, summary.rejected) == (8, 0, 2)
    assert sorted(path.stem for path in (tmp_path / "tree/val").iterdir()) == [
        f"seq_{number:06d}" for number in (1, 2, 3, 4, 10, 12, 13, 14)
    ]


def test_another_sample_of_a_frame_takes_the_place_of_a_rejected_one(
    make_store: Callable[..., Store], make_sample: Callable[..., object], tmp_path: Path
) -> None:
    samples = [make_sample(offset, key="same", source_key=f"seq_{offset}", offset=offset) for offset in (1, 2)]
    store = make_store(samples)
    near, _ = store.records()
    decisions = Decisions(
        version=1,
        store=store.manifest.store_id,
        samples=(
            module.Decision(
                source_key=near.source_key,
                offset=1,
                pairing="label",
                digest=near.digest,
                decision="reject",
                at="2026-11-29",
            ),
        ),
    )
    summary = export_store(store, tmp_path / "tree", "camvid", decisions=decisions)
    assert (summary.frames, summary.superseded, summary.rejected) == (1, 0, 1)
    (written,) = (tmp_path / "tree" / "valannot").iterdir()
    label = np.asarray(Image.open(written))
    assert np.array_equal(label, samples[1].label)  # type: ignore[attr-defined]
    assert not np.array_equal(label, samples[0].label)  # type: ignore[attr-defined]


def test_the_commands_say_how_many_were_left_out(clip: Store, decided: Decided, cli: Cli, tmp_path: Path) -> None:
    done = cli("export", clip.path, tmp_path / "tree", "--decisions", decided(1, 7))
    assert done.stdout.endswith("8 frames, 0 samples gave way to a nearer one, 2 were rejected\n")
    done = cli("export", clip.path, tmp_path / "other", "--decisions", decided(1, store="0" * 64))
    assert done.returncode == 1
    assert "decisions on another store" in done.stderr
    assert not (tmp_path / "other").exists()


def test_where_all_is_rejected_there_is_nothing_to_export(clip: Store, decided: Decided, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="all its 10 samples are rejected, so there is nothing to export"):
        export_store(clip, tmp_path / "tree", decisions=open_decisions(decided(*range(10)), clip))
