"""Segment images that need no annotation, and write what is found as images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jobs.ahead import ahead
from jobs.errors import FileError
from jobs.files import write_whole
from jobs.training.runtime import Runtime
from propagate.data.classes import ClassTable
from propagate.data.images import encode_png
from propagate.errors import PropagateError
from segtrain.errors import DataError, InferenceError
from segtrain.evaluation.report import LeftOut
from segtrain.inference import Inference, segment
from segtrain.prediction.sources import Picture
from segtrain.prediction.submission import Submission
from segtrain.prediction.video import VideoOutput, written
from segtrain.prediction.views import KINDS, overlaid, view
from segtrain.trained import TrainedNetwork

NUM_AHEAD = 2  # images that are read before they are segmented, and segmented before they are written


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What was written, of how many images, and which could not be read."""

    images: int
    files: int
    failures: tuple[LeftOut, ...]


class _Image(NamedTuple):
    """truth: [H,W] uint8 train ids, or None."""

    name: str
    pixels: np.ndarray
    truth: np.ndarray | None


class _Segmented(NamedTuple):
    """found: [H,W] uint8 train ids."""

    image: _Image
    found: np.ndarray


def predict(
    trained: TrainedNetwork,
    pictures: Sequence[Picture],
    out: Path,
    inference: Inference,
    runtime: Runtime,
    *,
    kinds: Sequence[str] = ("pred",),
    submission: Path | None = None,
    video: VideoOutput | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> PredictSummary:
    """Segment images, and write what is found to <out>/<kind>/<name>.png.

    kinds: `pred`, label ids; `rgb`, the classes' colours; `compose`, those over the image; `diff`, what is wrong, of
    images whose truth is known. submission: where to write the zip file for the Cityscapes benchmark. video: where to
    write a video of all images, which then are the frames of one. Reading and
    writing go on beside the network. An image that cannot be read is a failure of the summary, and the rest goes on.
    on_progress: called with the number of images dealt with since its last call.

    Raises: DataError, where there is nothing to segment, or no submission can be made of it; InferenceError, where
    <out>/<kind> holds files already, the network cannot segment an image, or a file cannot be written; ValueError for a
    kind that is none of KINDS.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"kinds must be of {', '.join(KINDS)}, found {', '.join(sorted(unknown))}")
    if not pictures:
        raise DataError("no images to segment; name a folder that holds some, or another split")
    for kind in kinds:
        _require_empty(out / kind)
    classes, failures, num_files = trained.classes, list[LeftOut](), 0
    names = [picture.name for picture in pictures]
    with ExitStack() as cleanup:
        archive = cleanup.enter_context(Submission(submission, names, classes)) if submission is not None else None
        show = cleanup.enter_context(written(video)) if video is not None else None
        segmented = _segmented(trained, ahead(_read(pictures), NUM_AHEAD), inference, runtime)
        for result in ahead(segmented, NUM_AHEAD):
            if isinstance(result, LeftOut):
                failures.append(result)
            else:
                views = _views({*kinds, "pred"} if archive is not None else kinds, result, classes)
                for kind in kinds:
                    if kind in views:
                        _write(out / kind / f"{result.image.name}.png", views[kind])
                        num_files += 1
                if show is not None:
                    show(result.image.pixels, overlaid(result.image.pixels, result.found, classes))
                if archive is not None:
                    archive.add(result.image.name, views["pred"])
            if on_progress is not None:
                on_progress(1)
    return PredictSummary(images=len(pictures) - len(failures), files=num_files, failures=tuple(failures))


def _require_empty(folder: Path) -> None:
    """Results of two predictions are not mixed."""
    if folder.is_dir() and any(folder.iterdir()):
        raise InferenceError(f"{folder}: already holds files; remove it, or give another --out")


def _read(pictures: Iterable[Picture]) -> Iterator[_Image | LeftOut]:
    for picture in pictures:
        try:
            pixels, truth = picture.read()
        except (PropagateError, FileError, DataError) as error:
            yield LeftOut(image=picture.where, reason=str(error))
        else:
            yield _Image(picture.name, pixels, truth)


def _segmented(
    trained: TrainedNetwork, images: Iterable[_Image | LeftOut], inference: Inference, runtime: Runtime
) -> Iterator[_Segmented | LeftOut]:
    for image in images:
        if isinstance(image, LeftOut):
            yield image
        else:
            yield _Segmented(image, segment(trained.network, image.pixels, inference, runtime))


def _views(kinds: Iterable[str], result: _Segmented, classes: ClassTable) -> dict[str, bytes]:
    """PNG files by kind, without those that need a truth that is not known."""
    (_, pixels, truth), found = result
    views = {kind: view(kind, pixels, found, truth, classes) for kind in kinds}
    return {kind: encode_png(picture) for kind, picture in views.items() if picture is not None}


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, but for power cuts: there are many, and they can be made again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, synced=False)
    except OSError as error:
        raise InferenceError(
            f"{path}: cannot be written ({error.strerror}); make room, remove what was written, and begin again, or "
            "choose another --out"
        ) from None
