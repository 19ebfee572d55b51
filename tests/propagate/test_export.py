from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.export import choose_samples, export_store
from propagate.shards.reader import SampleRecord, Store

MakeStore = Callable[..., Store]
MakeSample = Callable[..., Sample]


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def record(source: str, offset: int, score: float) -> SampleRecord:
    origin = "propagated" if offset else "annotated"
    return SampleRecord(
        key="k", source_key=source, group="g", offset=offset, pairing="label", score=score, origin=origin
    )


@pytest.mark.parametrize(
    ("best", "others"),
    [
        (record("b", -1, 0.1), [record("a", 2, 0.9), record("a", -2, 0.9)]),
        (record("b", 2, 0.9), [record("a", -2, 0.8), record("c", 3, 1.0)]),
        (record("a", 2, 0.5), [record("b", -2, 0.5), record("c", 2, 0.5)]),
        (record("z", 0, 0.0), [record("a", 1, 1.0)]),
        (
            replace(record("b", -2, 0.9), origin="fused", second_source_key="a", second_offset=3),
            [record("a", 3, 1.0), record("b", -2, 0.8)],
        ),
        (replace(record("z", 2, 0.0), origin="annotated"), [replace(record("a", 0, 1.0), origin="pseudo")]),
    ],
)
def test_the_nearest_then_surest_then_first_source_wins_in_any_order(
    best: SampleRecord, others: list[SampleRecord]
) -> None:
    assert all(choose_samples(order) == {"k": best} for order in permutations([best, *others]))


def test_the_cityscapes_tree(tmp_path: Path, make_store: MakeStore, make_sample: MakeSample) -> None:
    samples = [
        make_sample(
            n,
            key=f"aachen_000000_00001{n}",
            group="aachen",
            offset=n,
            label=np.full((70, 90), label, np.uint8),
        )
        for n, label in ((0, 7), (1, 4))
    ]
    summary = export_store(make_store(samples, dataset="cityscapes", split="train"), tmp_path / "out")
    assert (summary.format, summary.frames, summary.superseded, summary.files) == ("cityscapes", 2, 0, 8)
    assert tree(tmp_path / "out") == sorted(
        name
        for key in ("aachen_000000_000010", "aachen_000000_000011")
        for name in (
            f"leftImg8bit/train/aachen/{key}_leftImg8bit.png",
            f"gtFine/train/aachen/{key}_gtFine_labelIds.png",
            f"gtFine/train/aachen/{key}_gtFine_labelTrainIds.png",
            f"gtFine/train/aachen/{key}_gtFine_color.png",
        )
    )
    labels = tmp_path / "out/gtFine/train/aachen"
    for key, label, train_id, color in (("10", 7, 0, (128, 64, 128)), ("11", 4, 255, (0, 0, 0))):
        assert (pixels(labels / f"aachen_000000_0000{key}_gtFine_labelIds.png") == label).all()
        assert (pixels(labels / f"aachen_000000_0000{key}_gtFine_labelTrainIds.png") == train_id).all()
        assert (pixels(labels / f"aachen_000000_0000{key}_gtFine_color.png") == color).all()


def test_the_camvid_tree_and_the_superseded_sample(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample
) -> None:
    far = make_sample(1, key="seq_000005", source_key="seq_000000", offset=5)
    image = encode_png(np.zeros((70, 90, 3), np.uint8), level=9)  # not what encoding it again would give
    near = make_sample(2, key="seq_000005", source_key="seq_000009", offset=-4, image=image)
    source = make_sample(3, key="seq_000000", offset=0)
    heard: list[int] = []
    summary = export_store(make_store([source, far, near]), tmp_path / "out", on_progress=heard.append)
    assert (summary.format, summary.frames, summary.superseded, summary.files) == ("camvid", 2, 1, 4)
    assert sum(heard) == 3
    assert tree(tmp_path / "out") == [
        f"{folder}/{key}.png" for folder in ("val", "valannot") for key in ("seq_000000", "seq_000005")
    ]
    assert (tmp_path / "out/val/seq_000005.png").read_bytes() == image
    assert np.array_equal(pixels(tmp_path / "out/valannot/seq_000005.png"), near.label)


def test_a_format_that_is_asked_for_goes_before_the_stores_own(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample
) -> None:
    store = make_store([make_sample(1)])
    assert export_store(store, tmp_path / "a", "cityscapes").format == "cityscapes"
    store.manifest.dataset = "folder"
    assert export_store(store, tmp_path / "b").format == "cityscapes"
    color = pixels(tmp_path / "b/gtFine/val/seq/seq_000001_gtFine_color.png")
    assert np.array_equal(color, load_classes("camvid").palette[make_sample(1).label])
    with pytest.raises(ValueError, match="no export format 'yolo'; known are cityscapes, camvid, cvat, coco"):
        export_store(store, tmp_path / "c", "yolo")
    with pytest.raises(ValueError, match=r"^no export format 'camvit'; .*; did you mean 'camvid'\?$"):
        export_store(store, tmp_path / "c", "camvit")


def test_raw_frames_become_png(tmp_path: Path, make_store: MakeStore, make_sample: MakeSample) -> None:
    raw = make_sample(1, raw=True)
    export_store(make_store([raw]), tmp_path / "out")
    assert np.array_equal(pixels(tmp_path / "out/val/seq_000001.png"), raw.image)


def test_jpeg_frames_become_png_of_the_same_pixels(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample
) -> None:
    buffer = BytesIO()
    Image.fromarray(np.full((70, 90, 3), (200, 30, 90), np.uint8)).save(buffer, "JPEG")
    export_store(make_store([replace(make_sample(1), image=buffer.getvalue())]), tmp_path / "out")
    written = tmp_path / "out/val/seq_000001.png"
    assert written.read_bytes().startswith(b"\x89PNG")
    assert np.abs(pixels(written).astype(int) - (200, 30, 90)).max() <= 4


def test_frames_of_different_sizes_go_into_one_tree(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample
) -> None:
    store = make_store([make_sample(1), make_sample(2, size=(40, 50))])
    export_store(store, tmp_path / "out")
    assert pixels(tmp_path / "out/valannot/seq_000001.png").shape == (70, 90)
    assert pixels(tmp_path / "out/valannot/seq_000002.png").shape == (40, 50)


def test_a_tree_that_is_there_is_left_alone_but_another_split_may_join_it(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample
) -> None:
    store = make_store([make_sample(1)])
    export_store(store, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(StoreError, match=r"out/val: already holds files; remove it, or give another directory"):
        export_store(store, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    store.manifest.split = "train"
    export_store(store, tmp_path / "out")
    assert len(tree(tmp_path / "out")) == 4


def test_a_destination_that_cannot_be_written_is_refused(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample
) -> None:
    store = make_store([make_sample(1)])
    (tmp_path / "file").write_text("here")
    with pytest.raises(StoreError, match="file: is a file; give a directory to export into"):
        export_store(store, tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot be made \(Not a directory\); give a directory that you may write"):
        export_store(store, tmp_path / "file" / "below")


def test_a_write_that_fails_leaves_no_half_file(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    store = make_store([make_sample(1)])
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match=r"seq_000001\.png: cannot be written \(No space left on device\); make room"):
        export_store(store, tmp_path / "out")
    assert tree(tmp_path / "out") == []


@pytest.mark.parametrize(("split", "group"), [("train", "../../../escaped"), ("/", "seq")])
def test_no_name_leads_out_of_the_destination(
    tmp_path: Path, make_store: MakeStore, make_sample: MakeSample, split: str, group: str
) -> None:
    store = make_store([make_sample(1, group=group)], split=split)
    with pytest.raises(StoreError, match="leads out of"):
        export_store(store, tmp_path / "out", "camvid" if split == "/" else "cityscapes")
    assert tree(tmp_path) == [f"store/{name}" for name in ("failures.jsonl", "manifest.json", "shard-00000.h5")]


def test_an_empty_store_is_refused(tmp_path: Path, make_store: MakeStore) -> None:
    with pytest.raises(StoreError, match="holds no samples to export"):
        export_store(make_store([]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
