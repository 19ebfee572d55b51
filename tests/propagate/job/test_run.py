"""The main job through the command line, on a synthetic data set."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from propagate.shards.manifest import load_manifest
from propagate.shards.reader import open_store

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]


def run(cli: Cli, root: Path, out: Path, *args: object, engine: str = "local") -> dict[str, Any]:
    process = cli("run", "--root", root, "--out", out, "--frames", 2, "--engine", engine, "--json", *args)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def contents(out: Path) -> list[str]:
    return [entry.content for entry in load_manifest(out).entries()]


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("args", [(), ("--pairing", "joint"), ("--images", "raw", "--resample", "recursive")])
def test_every_engine_and_number_of_workers_write_the_same_content(
    cli: Cli, street: Path, tmp_path: Path, args: tuple[object, ...]
) -> None:
    args = (*args, "--clips-per-shard", 1)
    summary = run(cli, street, tmp_path / "local", *args)
    assert (summary["clips"], summary["samples"], summary["shards"], summary["failures"]) == (3, 15, 3, [])
    assert summary["samples_per_second"] == pytest.approx(15 / summary["seconds"])
    run(cli, street, tmp_path / "ray", *args, "--workers", 2, engine="ray")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_finished_store_has_nothing_to_do_and_another_configuration_is_refused(
    cli: Cli, street: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(cli, street, out, "--limit", 1, "--motion", "none")
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    again = cli(
        "run",
        "--root",
        street,
        "--out",
        out,
        "--frames",
        2,
        "--limit",
        1,
        "--motion",
        "none",
        "--engine",
        "local",
    )
    assert again.returncode == 0
    assert "nothing to do: the store is finished" in again.stdout
    assert "checked of each shard: its store, place, size and form" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in out.glob("shard-*")} == before

    other = cli("run", "--root", street, "--out", out, "--frames", 3, "--motion", "none", "--engine", "local")
    assert other.returncode == 1
    assert "begun with another configuration" in other.stderr
    assert "frames: 2 in the store, 3 now" in other.stderr
    assert "limit: 1 in the store, None now" in other.stderr
    assert "choose another OUT, or --overwrite" in other.stderr
    anew = run(cli, street, out, "--limit", 2, "--motion", "none", "--overwrite")
    assert anew["clips"] == 2


def test_a_missing_shard_is_written_again(cli: Cli, street: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ("--motion", "none", "--clips-per-shard", 1)
    run(cli, street, out, *args)
    before = contents(out)
    (out / "shard-00001.h5").unlink()
    assert run(cli, street, out, *args)["written"] == 5
    assert contents(out) == before
    assert cli("verify", out).returncode == 0


def test_leftovers_of_a_killed_run_are_swept_and_strangers_are_respected(
    cli: Cli, street: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    precious = {name: name.encode() for name in ("holiday.jpg", "notes.new", "shard-of-glass.h5", "shard-00000.h5")}
    for name, content in precious.items():
        (out / name).write_bytes(content)
    args = (
        "run",
        "--root",
        street,
        "--out",
        out,
        "--engine",
        "local",
        "--motion",
        "none",
        "--frames",
        1,
        "--limit",
        1,
    )
    for extra in ((), ("--overwrite",)):
        process = cli(*args, *extra)
        assert process.returncode == 1
        assert "holds 'holiday.jpg' but no manifest, so it is no shard store" in process.stderr
    for name, content in precious.items():
        assert (out / name).read_bytes() == content
        (out / name).unlink()
    (out / ".shard-00000.h5.77aa.part").write_bytes(b"half a shard")
    for name in (".manifest.json.0a1b.partial", ".failures.jsonl.0a1b.partial", "manifest.json.new"):
        (out / name).touch()
    assert cli(*args).returncode == 0
    assert not list(out.glob(".shard*"))
    assert not [*out.glob(".*.partial"), *out.glob("*.new")]


def test_a_second_run_on_the_same_store_is_refused(cli: Cli, street: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        process = cli("run", "--root", street, "--out", out, "--engine", "local")
    assert process.returncode == 1
    assert "another run is writing to it; wait for it to end, or choose another OUT" in process.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/version").exists(), reason="root may write anywhere")
def test_an_out_that_cannot_be_written_is_named(cli: Cli, street: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/store")):
        process = cli("run", "--root", street, "--out", out, "--engine", "local")
        assert process.returncode == 1
        assert f"{out}: cannot be written" in process.stderr
        assert "choose another OUT" in process.stderr
        assert "Traceback" not in process.stderr


def test_the_annotated_frame_is_left_out_on_demand(cli: Cli, street: Path, tmp_path: Path) -> None:
    run(cli, street, tmp_path / "out", "--limit", 1, "--no-source", "--motion", "none")
    offsets = [sample.offset for sample in open_store(tmp_path / "out").samples(images=False)]
    assert offsets == [1, 2, -1, -2]


def test_label_pairing_keeps_the_source_bytes_and_joint_predicts_the_frame(
    cli: Cli, street: Path, tmp_path: Path
) -> None:
    for pairing in ("label", "joint"):
        run(cli, street, tmp_path / pairing, "--limit", 1, "--pairing", pairing)
    frames = street / "leftImg8bit_sequence" / "train"
    for real, predicted in zip(
        open_store(tmp_path / "label").samples(), open_store(tmp_path / "joint").samples(), strict=True
    ):
        source = next(frames.glob(f"*/{real.key}_leftImg8bit.png")).read_bytes()
        assert real.image == source
        assert (predicted.image == source) == (predicted.offset == 0)
        assert (real.pairing, predicted.pairing) == ("label", "joint")
        assert (real.label == predicted.label).mean() > 0.95  # the real frame's colours have a say in its labels


def test_min_confidence_turns_exactly_the_unsure_pixels_into_ignore(cli: Cli, street: Path, tmp_path: Path) -> None:
    run(cli, street, tmp_path / "all", "--limit", 1)
    run(cli, street, tmp_path / "sure", "--limit", 1, "--min-confidence", 0.6)
    masked = 0
    for every, sure in zip(
        open_store(tmp_path / "all").samples(), open_store(tmp_path / "sure").samples(), strict=True
    ):
        unsure = every.confidence < 0.6 * 15
        assert (sure.label[unsure] == 0).all()
        assert (sure.label[~unsure] == every.label[~unsure]).all()
        assert (sure.confidence == every.confidence).all()
        masked += int(unsure.sum())
    assert masked > 0


def test_info_says_what_the_store_holds(cli: Cli, street: Path, tmp_path: Path) -> None:
    run(cli, street, tmp_path / "out", "--frames", 7, "--motion", "none", "--limit", 1)
    info = json.loads(cli("info", tmp_path / "out", "--json").stdout)
    assert info["samples"] == 13
    assert info["offsets"] == {str(k): 1 for k in range(-7, 6)}
    assert info["sizes"] == {"128x256": 13}
    assert info["shortened_clips"] == 1  # the snippet ends five frames after the annotated one
    assert info["failures"] == []
    assert info["settings"]["motion"] == "none"
    assert sum(info["classes"].values()) == 13 * 128 * 256
    text = cli("info", tmp_path / "out").stdout
    assert "13 of 1 clips" in text
    assert "road" in text


def test_json_output_is_one_object_and_errors_go_to_stderr(cli: Cli, tmp_path: Path) -> None:
    process = cli("info", tmp_path / "nothing", "--json")
    assert (process.returncode, process.stdout) == (1, "")
    assert "no shard store here" in process.stderr
    process = cli("run", "--root", tmp_path, "--json")
    assert (process.returncode, process.stdout) == (1, "")
    assert "no data set of a known layout" in process.stderr


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--address", "x:1"), "--address names a Ray cluster: use it with --engine ray"),
        (("--workers", 4), "--workers are Ray's: leave it out, or use --engine ray; local is one, in this process"),
    ],
)
def test_what_ray_alone_takes_is_refused_with_another_engine(
    cli: Cli, tmp_path: Path, option: tuple[object, ...], sentence: str
) -> None:
    process = cli("run", "--root", tmp_path, "--out", tmp_path / "o", "--engine", "local", *option)
    assert process.returncode == 2
    assert sentence in process.stderr


@pytest.mark.parametrize(
    ("args", "nearest"),
    [
        (("run", "--dataset", "kity"), "kitti"),
        (("run", "--motion", "tvll"), "tvl1"),
        (("run", "--pairing", "joined"), "joint"),
        (("export", "shards", "tree", "--format", "camvit"), "camvid"),
    ],
)
def test_an_unknown_name_says_the_nearest_one(cli: Cli, args: tuple[str, ...], nearest: str) -> None:
    process = cli(*args)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.endswith(f"; did you mean '{nearest}'?\n")


@pytest.mark.parametrize("command", ["synth", "run", "info", "verify", "evaluate", "export"])
def test_every_help_has_an_example(cli: Cli, command: str) -> None:
    text = cli(command, "--help").stdout
    assert f"propagate {command} " in text


def test_in_the_folder_of_a_data_set_nothing_need_be_named(
    cli: Cli, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROPAGATE_ROOT", str(street))
    monkeypatch.chdir(tmp_path)
    arguments = ("run", "--frames", 1, "--split", "train", "--engine", "local", "--motion", "none")
    process = cli(*arguments)
    assert process.returncode == 0, process.stderr
    assert f"{street}: a data set of the layout cityscapes" in process.stderr
    assert open_store(tmp_path / "shards").manifest.dataset == "cityscapes"
    monkeypatch.setenv("PROPAGATE_OUT", "elsewhere")
    monkeypatch.setenv("PROPAGATE_RUN_OUT", "here")  # a command's own counts before
    assert cli(*arguments).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "shards"]
    monkeypatch.setenv("PROPAGATE_ROOT", str(tmp_path))
    assert "no data set of a known layout" in cli(*arguments).stderr
