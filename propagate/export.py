"""Write a store's samples as a directory tree that other trainers read."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from jobs.files import write_whole
from jobs.registry import Registry
from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_label_ids
from propagate.data.images import decode_frame, encode_png
from propagate.data.sample import ANNOTATED, Sample
from propagate.errors import StoreError
from propagate.review.decisions import Decisions
from propagate.shards.identity import Identity, identity_of
from propagate.shards.reader import SampleRecord, Store

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Path below DEST and content of one file.
File = tuple[str, bytes]


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was written: one frame per key. `superseded` samples gave way to a better one of their key; `rejected` ones
    were left out before.

    exactness: how far the label maps are kept, in words, where the format is one that can be imported again.
    """

    format: str
    frames: int
    superseded: int
    rejected: int
    files: int
    exactness: str = ""


def export_store(
    store: Store,
    dest: Path,
    format: str | None = None,
    *,
    decisions: Decisions | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> ExportSummary:
    """Write every frame of a store with its label map below `dest`, one sample in memory at a time.

    format: a name in FORMATS; None takes that of the store's data set, and Cityscapes for any other. A
    frame that several samples show is written once: from the annotated one, else that of smallest |offset|, then of
    highest mean confidence, then of the first source key. PNG frames are written byte for byte. decisions: those on the
    store, whose rejected samples are left out. `on_progress` is called with the number of samples dealt with since its
    last call.

    Raises: UnknownNameError, where no format has that name. StoreError, where the store cannot be read or is empty,
    `dest` cannot be written or already holds such a tree.
    """
    name = format or (store.manifest.dataset if store.manifest.dataset in FORMATS else "cityscapes")
    tree = FORMATS[name]
    records = list(store.records())
    if not records:
        raise StoreError(f"{store.path}: holds no samples to export; `propagate info` tells why")
    rejected = frozenset[Identity]() if decisions is None else decisions.rejected
    kept = [record for record in records if identity_of(record) not in rejected]
    if not kept:
        raise StoreError(f"{store.path}: all its {len(records)} samples are rejected, so there is nothing to export")
    chosen = choose_samples(kept)
    writer = tree.begin(store.manifest.split, store.manifest.classes)
    _prepare(dest, [_below(dest, root.format(split=store.manifest.split)) for root in tree.roots])
    num_files = 0
    for path, data in _all_files(writer, _chosen_samples(store, chosen, on_progress)):
        _write(_below(dest, path), data)
        num_files += 1
    return ExportSummary(
        format=name,
        frames=len(chosen),
        superseded=len(kept) - len(chosen),
        rejected=len(records) - len(kept),
        files=num_files,
        exactness=writer.exactness,
    )


def choose_samples(records: Iterable[SampleRecord]) -> dict[str, SampleRecord]:
    """The sample to export for each key: annotated, smallest |offset|, highest mean confidence, first source key."""
    best: dict[str, SampleRecord] = {}
    for record in records:
        if record.key not in best or _rank(record) < _rank(best[record.key]):
            best[record.key] = record
    return best


def _rank(record: SampleRecord) -> tuple[bool, int, float, str, int, str]:
    is_made = record.origin != ANNOTATED
    return is_made, abs(record.offset), -record.score, record.source_key, record.offset, record.pairing


def _chosen_samples(
    store: Store, chosen: dict[str, SampleRecord], on_progress: Callable[[int], object] | None
) -> Iterator[Sample]:
    """The chosen samples, in the order of the store; of the others no pixel is read."""
    for shard in store.shards():
        for index, record in enumerate(shard.records):
            if chosen.get(record.key) == record:
                yield shard.sample(index)
            if on_progress is not None:
                on_progress(1)


class TreeWriter(Protocol):
    """Writes one split: the files of each sample as it comes, and at the end those that tell of all samples.

    exactness: as in `ExportSummary`; it counts once all is written.
    """

    @property
    def exactness(self) -> str: ...

    def files(self, sample: Sample) -> Iterator[File]: ...

    def rest(self) -> Iterator[File]: ...


class TreeFormat(Protocol):
    """A directory layout. roots: the folders that hold one split, with {split} in them, or "" for all of DEST; they
    must be empty, so that no two exports mix.
    """

    @property
    def roots(self) -> tuple[str, ...]: ...

    def begin(self, split: str, classes: ClassTable) -> TreeWriter: ...


def _all_files(writer: TreeWriter, samples: Iterable[Sample]) -> Iterator[File]:
    for sample in samples:
        yield from writer.files(sample)
    yield from writer.rest()


def _cityscapes_files(sample: Sample, split: str, classes: ClassTable) -> Iterator[File]:
    frame, label = f"leftImg8bit/{split}/{sample.group}", f"gtFine/{split}/{sample.group}"
    yield f"{frame}/{sample.key}_leftImg8bit.png", _png_of(sample)
    for ending, image in (
        ("labelIds", sample.label),
        ("labelTrainIds", classes.train_id_of[sample.label]),
        ("color", colours_of_label_ids(sample.label, classes)),
    ):
        yield f"{label}/{sample.key}_gtFine_{ending}.png", encode_png(image)


def _camvid_files(sample: Sample, split: str, _: ClassTable) -> Iterator[File]:
    yield f"{split}/{sample.key}.png", _png_of(sample)
    yield f"{split}annot/{sample.key}.png", encode_png(sample.label)


@dataclass(frozen=True)
class ExportFormat:
    """A `TreeFormat` in which each sample has files of its own, and all samples together none."""

    roots: tuple[str, ...]
    files: Callable[[Sample, str, ClassTable], Iterator[File]]

    def begin(self, split: str, classes: ClassTable) -> "_SampleWriter":
        return _SampleWriter(self, split, classes)


@dataclass(frozen=True)
class _SampleWriter:
    format: ExportFormat
    split: str
    classes: ClassTable
    exactness: str = ""

    def files(self, sample: Sample) -> Iterator[File]:
        return self.format.files(sample, self.split, self.classes)

    def rest(self) -> Iterator[File]:
        return iter(())


FORMATS: Registry[TreeFormat] = Registry(
    "export format",
    {
        "cityscapes": ExportFormat(("leftImg8bit/{split}", "gtFine/{split}"), _cityscapes_files),
        "camvid": ExportFormat(("{split}", "{split}annot"), _camvid_files),
        "cvat": "propagate.formats.cvat:CVAT",
        "coco": "propagate.formats.coco:COCO",
        "coco-panoptic": "propagate.formats.coco_panoptic:COCO_PANOPTIC",
        "voc": "propagate.formats.voc:VOC",
        "labelme": "propagate.formats.labelme:LABELME",
        "webdataset": "propagate.formats.webdataset:WEBDATASET",
    },
)


def _png_of(sample: Sample) -> bytes:
    """The sample's frame as a PNG file: the very bytes of the source where that is one."""
    if isinstance(sample.image, np.ndarray):
        return encode_png(sample.image)
    if sample.image.startswith(_PNG_SIGNATURE):
        return sample.image
    return encode_png(decode_frame(sample.image, sample.key))


def _prepare(dest: Path, roots: list[Path]) -> None:
    """Make the folders of the split, and refuse to mix with what is there."""
    if dest.exists() and not dest.is_dir():
        raise StoreError(f"{dest}: is a file; give a directory to export into")
    for root in roots:
        if root.is_dir() and any(root.iterdir()):
            raise StoreError(f"{root}: already holds files; remove it, or give another directory to export into")
    for root in roots:
        _make_directory(root)


def _below(dest: Path, path: str) -> Path:
    """dest / path, provided that no split, group or key leads out of there."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise StoreError(f"'{path}' leads out of {dest}; write the store again with other names")
    return dest / relative


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be made ({error.strerror}); give a directory that you may write to") from None


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, but for power cuts: there are many, and they can be exported again."""
    _make_directory(path.parent)
    try:
        write_whole(path, data, synced=False)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); make room, remove what was exported, and export again"
        ) from None
