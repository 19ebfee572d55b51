"""`propagate report`: the folder, whole or not at all, and nobody else's."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.reviews import data_of, map_of

from propagate.errors import ReviewError, StoreError
from propagate.review.decisions import beside
from propagate.review.folder import write_folder
from propagate.review.looking import look_at
from propagate.review.report import write_report
from propagate.shards.reader import Store

Cli = Callable[..., subprocess.CompletedProcess[str]]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def of_data(folder: Path) -> list[str]:
    return [name.removeprefix("data/") for name in names(folder) if name.startswith("data/")]


def test_the_folder_lies_beside_the_store_and_holds_what_it_says(clip: Store) -> None:
    summary = write_report(clip.path, max_samples=3)
    folder = clip.path.with_name("store-report")
    assert summary.address == (folder / "index.html").as_uri()
    assert (summary.rows, summary.drawn, summary.failures) == (10, 3, ())
    assert summary.files == len(names(folder))
    assert summary.bytes == sum((folder / name).stat().st_size for name in names(folder))
    about = data_of((folder / "data/store.js").read_bytes())
    assert about["store_id"] == clip.manifest.store_id
    assert (about["rows"], about["drawn"], about["chunks"], about["sources"]) == (
        10, 3, ["rows-000.js"], ["seq_000002", "seq_000012"],
    )  # fmt: skip
    assert about["verdict"] == summary.verdict
    assert about["server"] is about["decisions"] is about["against"] is about["truth_table"] is None
    rows = data_of((folder / "data/rows-000.js").read_bytes())
    drawn = [number for number, is_drawn in enumerate(rows["drawn"]) if is_drawn]
    sources = [number for number, is_drawn in enumerate(about["sources_drawn"]) if is_drawn]
    expected = [f"p-{number}.js" for number in drawn] + [f"s-{number}.js" for number in sources]
    assert of_data(folder) == sorted([*expected, "rows-000.js", "store.js"])
    sample = [*clip.samples()][drawn[0]]
    picture = data_of((folder / f"data/p-{drawn[0]}.js").read_bytes())
    assert (map_of(picture, "confidence") == sample.confidence | sample.reason << 4).all()
    source = data_of((folder / "data/s-1.js").read_bytes())
    assert (map_of(source, "label") == [*clip.samples()][5].label).all()  # all of CamVid's ids are their index


def test_an_earlier_report_is_replaced_whole(clip: Store, tmp_path: Path) -> None:
    write_report(clip.path, tmp_path / "page", max_samples=99)
    write_report(clip.path, tmp_path / "page", max_samples=0)
    assert of_data(tmp_path / "page") == ["rows-000.js", "store.js"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_no_report_stays(clip: Store, tmp_path: Path) -> None:
    out = tmp_path / "page"
    write_report(clip.path, out)
    kept = out / "data" / "decisions.json"
    kept.write_text("{}")
    with pytest.raises(ReviewError, match=r"page: holds 'data/decisions.json', which is no part of a report; move it"):
        write_report(clip.path, out)
    assert kept.read_text() == "{}"
    other = tmp_path / "site"
    other.mkdir()
    (other / "index.html").write_text("mine")
    with pytest.raises(ReviewError, match=r"site: holds 'index.html', but is no report of ours"):
        write_report(clip.path, other)
    with pytest.raises(ReviewError, match=r"index.html: is no folder"):
        write_report(clip.path, other / "index.html")
    with pytest.raises(ReviewError, match=r"store: holds "):
        write_report(clip.path, clip.path)


def test_an_interrupted_report_leaves_the_earlier_one(clip: Store, tmp_path: Path) -> None:
    out = tmp_path / "page"
    write_report(clip.path, out, max_samples=1)
    before = {name: (out / name).read_bytes() for name in names(out)}

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(look_at(clip.path), out, on_progress=interrupt)
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (tmp_path / ".page.0123abcd.partial" / "data").mkdir(parents=True)  # as a killed one leaves behind
    write_report(clip.path, out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_written_is_named(clip: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReviewError, match="cannot be written"):
        write_report(clip.path, tmp_path / "file" / "page")


def test_decisions_that_were_taken_are_shown(clip: Store, decided: Callable[..., Path], tmp_path: Path) -> None:
    write_report(clip.path, tmp_path / "page", decisions=decided(3))
    about = data_of((tmp_path / "page/data/store.js").read_bytes())
    assert [(each["offset"], each["decision"]) for each in about["decisions"]["samples"]] == [(1, "reject")]


def test_many_rows_come_in_chunks(clip: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("propagate.review.contents.CHUNK", 4)
    write_report(clip.path, tmp_path / "page", max_samples=0)
    chunks = [data_of((tmp_path / f"page/data/rows-00{number}.js").read_bytes()) for number in range(3)]
    assert [(chunk["start"], len(chunk["key"]), len(chunk["levels"])) for chunk in chunks] == [
        (0, 4, 4),
        (4, 4, 4),
        (8, 2, 2),
    ]
    assert [key for chunk in chunks for key in chunk["key"]] == [record.key for record in clip.records()]
    assert [each for chunk in chunks for each in chunk["classes"]] == [[*range(12)]] * 10


def test_the_command_prints_the_address_last(clip: Store, cli: Cli, tmp_path: Path) -> None:
    done = cli("report", clip.path, "--out", tmp_path / "a page #1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{tmp_path.as_uri()}/a%20page%20%231/index.html"
    assert done.stdout.startswith("Labels are not safe at any offset: 83.3 % of")


def test_a_truth_that_cannot_be_used_is_told_and_the_rest_goes_on(clip: Store, cli: Cli, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "seq_000001.png").write_bytes(b"no image")
    done = cli("report", clip.path, "--truth", truth)
    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert done.stdout.splitlines()[-1].endswith("/store-report/index.html")


def test_a_store_beside_which_nothing_has_a_name(clip: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.path)
    assert beside(Path(), "-report") == clip.path.with_name("store-report")
    with pytest.raises(StoreError, match="no shard store here"):
        write_report(Path(".."))


def test_where_the_new_report_cannot_take_its_place_the_earlier_one_returns(
    clip: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page"
    write_report(clip.path, out, max_samples=1)
    before = {name: (out / name).read_bytes() for name in names(out)}
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target == out and (path / "index.html").read_bytes() == b"new":
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr("propagate.review.contents.page_files", lambda _: {"index.html": b"new"})
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ReviewError, match="cannot be written"):
        write_report(clip.path, out)
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    monkeypatch.undo()
    out.rename(tmp_path / ".page.0123abcd.former")  # as who was killed there leaves it behind

    def fill(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ReviewError, match="No space left"):
        write_folder(look_at(clip.path), out, on_progress=fill)
    assert {name: (out / name).read_bytes() for name in names(out)} == before
