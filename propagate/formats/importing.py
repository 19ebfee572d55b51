"""Make a `folder` data set of annotations: frames, label maps, a class table, and the layout file that names them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from jobs.files import whole_folder
from propagate.data.classes import ClassTable
from propagate.data.encoded import read_header
from propagate.data.images import encode_png, read_image
from propagate.datasets.layout import LAYOUT_FILE
from propagate.errors import DatasetError
from propagate.formats.annotations import AnnotatedFrame, Annotations, refused
from propagate.formats.class_tables import CLASS_FILE, declared_table, ids_of, table_file
from propagate.formats.naming import place_of
from propagate.formats.registry import IMPORTERS
from propagate.formats.source import Source

_LAYOUT = f"""frames: "frames/{{sequence}}/{{frame}}.*"
labels: "labels/{{sequence}}/{{frame}}.png"
labels_hold: label_ids
classes: {CLASS_FILE}
"""
_TOLD = 3


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What was written. passed_over: what was found and not imported, by its kind."""

    format: str
    frames: int
    sequences: int
    labelled: int
    classes: int
    passed_over: dict[str, int]


@dataclass(frozen=True)
class _Frame:
    """A frame to write: `path` in the source, `name` below frames/ and labels/, and what was annotated, if anything."""

    path: str
    name: str
    annotated: AnnotatedFrame | None


def import_annotations(
    source: Path,
    dest: Path,
    format: str,
    classes: ClassTable | None = None,
    *,
    on_plan: Callable[[int], object] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> ImportSummary:
    """Write a new data set to `dest`: the annotated frames with their label maps, and the frames beside them.

    source: a folder, a zip file, or a file of annotations. format: a name in IMPORTERS. classes: the table of the label
    maps; None makes one of what is declared, in its order. Frames are copied, byte for byte. `on_plan` is called with
    the number of frames, `on_progress` with how many were written since its last call. Nothing is at `dest` until all
    is.

    Raises: UnknownNameError, where no format has that name. DatasetError: a source without annotations or frames, names
    without numbers, labels that the table lacks, or a `dest` that holds something, or cannot be written. InputError: a
    file that is not of the format, or contradicts its frame.
    """
    read = IMPORTERS[format]
    _require_free(dest)
    opened = Source(source)
    found = read(opened)
    frames, num_nameless = _plan(opened, found)
    with refused(str(source)):
        table = classes or declared_table(format, found.classes)
    passed_over = {kind: number for kind, number in found.passed_over.items() if number}
    if num_nameless:
        passed_over["images whose names end in no number"] = num_nameless
    if on_plan is not None:
        on_plan(len(frames))
    try:
        with whole_folder(dest) as folder:
            _write(folder, opened, frames, found, table, on_progress)
    except OSError as error:
        raise DatasetError(
            f"{dest}: cannot be written ({error.strerror}); give a new folder where there is room, and import again"
        ) from None
    return ImportSummary(
        format=format,
        frames=len(frames),
        sequences=len({PurePosixPath(frame.name).parent for frame in frames}),
        labelled=sum(frame.annotated is not None for frame in frames),
        classes=len(table.train_names),
        passed_over=passed_over,
    )


def _require_free(dest: Path) -> None:
    if not dest.name or dest.name == "..":
        raise DatasetError(f"{dest}: is no name of a new folder; give one to import into")
    if dest.exists() and not dest.is_dir():
        raise DatasetError(f"{dest}: is a file; give a new folder to import into")
    if dest.is_dir() and any(dest.iterdir()):
        raise DatasetError(f"{dest}: already holds files; remove it, or give another folder to import into")


def _plan(source: Source, found: Annotations) -> tuple[list[_Frame], int]:
    """The frames by name, and how many images have no number, and so cannot be neighbours. Raises: DatasetError."""
    annotated = _paths(source, found)
    folders = {str(PurePosixPath(path).parent) for path in annotated}
    images = {path for paths in source.images.values() for path in paths} - found.maps
    beside = {path for path in images if str(PurePosixPath(path).parent) in folders}
    frames: dict[tuple[str, int], _Frame] = {}
    num_nameless = 0
    for path in sorted(beside | annotated.keys()):
        place = place_of(path)
        if place is None:
            if path in annotated:
                raise DatasetError(
                    f"{source.tree.locate(path)}: its name does not end in the frame's number, as drive_000120.png "
                    "does; rename it, also where it is annotated"
                )
            num_nameless += 1
            continue
        sequence, digits = place
        frame = _Frame(path, f"{sequence}/{digits}", annotated.get(path))
        former = frames.setdefault((sequence, int(digits)), frame)
        if former is not frame:
            raise DatasetError(
                f"{source.tree.locate(path)}: is frame {int(digits)} of sequence {sequence}, as "
                f"{source.tree.locate(former.path)} is; keep one of them, or rename it"
            )
    return sorted(frames.values(), key=lambda frame: frame.name), num_nameless


def _paths(source: Source, found: Annotations) -> dict[str, AnnotatedFrame]:
    """The annotated frames by their paths. Raises: DatasetError, InputError."""
    if not found.frames:
        raise DatasetError(f"{source.path}: no frame is annotated there with an area; annotate some, and export again")
    paths: dict[str, AnnotatedFrame] = {}
    missing: list[str] = []
    for frame in found.frames:
        path = source.image(frame.name, frame.folders, found.maps, frame.where)
        if path is None:
            missing.append(frame.name)
        elif path in paths:
            raise DatasetError(f"{frame.where}: annotates {path} twice, as {frame.place}; keep one of them")
        else:
            paths[path] = frame
    if missing:
        raise DatasetError(
            f"{source.path}: {len(missing)} of {len(found.frames)} annotated frames are not there as PNG or JPEG, such "
            f"as {missing[0]!r:.200}; add the images, such as by exporting with them"
        )
    return paths


def _write(
    folder: Path,
    source: Source,
    frames: list[_Frame],
    found: Annotations,
    table: ClassTable,
    on_progress: Callable[[int], object] | None,
) -> None:
    names = list(found.classes)
    ids = ids_of(names, table)
    unknown: Counter[str] = Counter()
    first: dict[str, str] = {}
    for frame in frames:
        resource = source.resource(frame.path)
        data = read_image(resource)
        header = read_header(data, str(resource))
        ending = "jpg" if header.format == "JPEG" else "png"
        _put(folder / f"frames/{frame.name}.{ending}", data)
        if frame.annotated is not None:
            drawn = _drawn(frame.annotated, (header.height, header.width))
            label_ids = ids[drawn]
            for index in np.unique(drawn[label_ids < 0]).tolist():
                is_it = drawn == index
                unknown[names[index]] += int(is_it.sum())
                row, column = np.argwhere(is_it)[0]
                first.setdefault(names[index], f"{frame.path}, row {row}, column {column}")
            _put(folder / f"labels/{frame.name}.png", encode_png(label_ids.clip(0).astype(np.uint8)))
        if on_progress is not None:
            on_progress(1)
    if unknown:
        told = [f"{name} ({number} pixels, first in {first[name]})" for name, number in unknown.most_common(_TOLD)]
        more = f", and {len(unknown) - _TOLD} more" if len(unknown) > _TOLD else ""
        raise DatasetError(
            f"{source.path}: labels that class table '{table.name}' does not have: {', '.join(told)}{more}; add them "
            "to the table, with train_id 255 where they are not to be trained, or rename them"
        )
    _put(folder / CLASS_FILE, table_file(table))
    _put(folder / LAYOUT_FILE, _LAYOUT.encode())


def _drawn(annotated: AnnotatedFrame, size: tuple[int, int]) -> np.ndarray:
    """[H,W] int16: places among the declared classes. Raises: InputError."""
    with refused(annotated.where):
        if annotated.size not in (None, size):
            raise ValueError(
                f"{annotated.place} is annotated as {_told(annotated.size)}, and its frame is {_told(size)}; "
                "export both again"
            )
        return annotated.draw(size)


def _told(size: tuple[int, int] | None) -> str:
    return "unknown" if size is None else f"{size[0]}x{size[1]}"


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
