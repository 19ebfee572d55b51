"""Segment images that need no annotation, and write what is found as images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jobs.ahead import ahead
from jobs.errors import FileError
from jobs.training.runtime import Runtime
from propagate.errors import PropagateError
from segtrain.errors import DataError
from segtrain.evaluation.report import LeftOut
from segtrain.inference import Inference, segment
from segtrain.prediction.sources import Picture
from segtrain.prediction.submission import Submission
from segtrain.prediction.video import Films, VideoOutput
from segtrain.prediction.views import overlaid
from segtrain.prediction.writing import ViewFiles
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
    classes, failures = trained.classes, list[LeftOut]()
    files = ViewFiles(out, kinds, classes)
    if not pictures:
        raise DataError("no images to segment; name a folder that holds some, or another split")
    names = [picture.name for picture in pictures]
    with ExitStack() as cleanup:
        archive = cleanup.enter_context(Submission(submission, names, classes)) if submission is not None else None
        films = cleanup.enter_context(Films(video)) if video is not None else None
        segmented = _segmented(trained, ahead(_read(pictures), NUM_AHEAD), inference, runtime)
        for result in ahead(segmented, NUM_AHEAD):
            if isinstance(result, LeftOut):
                failures.append(result)
            else:
                (name, pixels, truth), found = result
                written = files.write(name, pixels, found, truth, also="pred" if archive is not None else "")
                if films is not None:
                    films.add(pixels, overlaid(pixels, found, classes))
                if archive is not None:
                    archive.add(name, written["pred"])
            if on_progress is not None:
                on_progress(1)
    return PredictSummary(images=len(pictures) - len(failures), files=files.num_files, failures=tuple(failures))


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
