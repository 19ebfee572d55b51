"""The synthetic data set on disk: the Cityscapes layout, and beside it the truth about every frame."""

import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from propagate.errors import DatasetError
from propagate.synth.config import ANNOTATED_FRAME, StreetConfig, require_sensible, written_frames
from propagate.synth.render import Rendered, Renderer
from propagate.synth.sensor import draw_sensor
from propagate.synth.street import build_scene
from propagate.synth.translate import translated, width_of_picture
from propagate.synth.truth import FORMAT, OTHER_FRAMES, TRUTH_FOLDER, truth_path
from sdcnet.flow_files import PNG_LIMIT, write_flow

_ABOUT = Path(TRUTH_FOLDER, "README.txt")
FRAMES_FOLDER, LABELS_FOLDER = "leftImg8bit_sequence", "gtFine"
_CITIES = ("synthburg", "rasterstadt", "pixelheim", "voxelmar", "renderfurt", "noisehafen", "aliasingen", "quadbach")


def write_splits(config: StreetConfig, on_progress: Callable[[int], None] | None = None) -> None:
    """Write all splits of a synthetic data set; see `write_dataset`."""
    for split in config.splits:
        _require_free(config.dest, split)
    for split in config.splits:
        write_dataset(
            config.dest,
            split=split,
            num_cities=config.cities,
            num_snippets=config.snippets,
            size=config.size,
            length=config.num_frames,
            around=config.around,
            seed=config.seed,
            speed=config.moves_by,
            on_progress=on_progress,
        )


def write_dataset(
    dest: Path,
    *,
    split: str = "train",
    num_cities: int = 1,
    num_snippets: int = 4,
    size: tuple[int, int] = (256, 512),
    length: int = 30,
    around: int | None = None,
    seed: int = 0,
    speed: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Write a synthetic driving data set, or another split of one.

    num_snippets: of the split, dealt out to the cities in turn. size: height and width of the frames.
    length: frames of a snippet. A snippet follows from seed, split, city and its number in the city: asking for more
    snippets changes none of the others. around: of a drive, write only the annotated frame and so many on each side, as
    they are among all. speed: pixels a frame by which pictures move sideways, all of whose frames are
    annotated; None is a drive, of which one frame of a snippet is. on_progress: called with the number of frames done
    since it was called last.

    Raises: ValueError where the request makes no sense; DatasetError where dest holds that split, or another data set,
    already, or cannot be written.
    """
    require_sensible(split, num_cities, num_snippets, size, length, around, seed, speed)
    _claim(dest, split)
    told = on_progress or (lambda _: None)
    try:
        for number in range(num_snippets):
            in_city, city = divmod(number, num_cities)
            identity = (seed, zlib.crc32(split.encode()), city, in_city)
            if speed is None:
                annotated: Container[int] = {ANNOTATED_FRAME}
                frames = _driven(identity, size, length, written_frames(length, around))
            else:
                annotated, frames = range(length), enumerate(_moved(identity, size, length, speed))
            _write_snippet(dest, split, city_name(city, split), in_city, frames, annotated, told)
    except OSError as error:
        raise DatasetError(
            f"{dest}: cannot be written ({error.strerror}), and is not whole: remove it, make room, and begin again"
        ) from None


def city_name(number: int, split: str = "train") -> str:
    """The name of a city that does not exist, one in no other split: a frame's key is unique in its data set."""
    again, index = divmod(number, len(_CITIES))
    name = _CITIES[index] + (str(again + 1) if again else "")
    return name if split == "train" else f"{split}-{name}"


def write_true_flow(path: Path, flow: np.ndarray) -> None:
    """Store a flow [2,H,W] float32 pixels; NaN, and what is longer than PNG_LIMIT, is stored as invalid.

    Raises: FlowFileError.
    """
    valid = (np.abs(flow) <= PNG_LIMIT).all(0)
    write_flow(path, torch.from_numpy(flow)[None], torch.from_numpy(valid)[None, None])


def _claim(dest: Path, split: str) -> None:
    """Refuse a folder that holds another data set, or this split; otherwise make it, and say what will be in it."""
    _require_free(dest, split)
    about = dest / _ABOUT
    try:
        about.parent.mkdir(parents=True, exist_ok=True)
        about.write_text(FORMAT, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{dest}: cannot be written ({error.strerror}); name a folder that can be made") from None


def _require_free(dest: Path, split: str) -> None:
    """Raises: DatasetError for a folder that holds another data set, or this split."""
    about = dest / _ABOUT
    folders = [
        Path(name) / split if about.exists() else Path(name) for name in (FRAMES_FOLDER, LABELS_FOLDER, TRUTH_FOLDER)
    ]
    found = [str(folder) for folder in folders if (dest / folder).exists()]
    if found:
        raise DatasetError(
            f"{dest}: already holds a data set (found {', '.join(found)}); remove it, or name another folder"
        )


def _driven(
    identity: tuple[int, ...], size: tuple[int, int], length: int, numbers: range
) -> Iterator[tuple[int, Rendered]]:
    """Frames of a drive with these numbers, as a camera sees them, and their truth."""
    rng = np.random.default_rng(identity)
    renderer = Renderer(build_scene(rng, length), size)
    sensor = draw_sensor(rng, length)
    for frame in numbers:
        rendered = renderer.render(frame)
        image = sensor.expose(rendered.image, frame, np.random.default_rng((*identity, frame)))
        yield frame, replace(rendered, image=image)


def _moved(identity: tuple[int, ...], size: tuple[int, int], length: int, speed: int) -> Iterator[Rendered]:
    """The frames of a picture that moves sideways, and their truth."""
    rng = np.random.default_rng(identity)
    height, width = size
    picture = (height, width_of_picture(width, length, speed))
    rendered = Renderer(build_scene(rng, 1), picture, lens=width).render(0)
    image = draw_sensor(rng, 1).expose(rendered.image, 0, np.random.default_rng((*identity, 0)))
    yield from translated(image, rendered.labels, length, speed)


def _write_snippet(
    dest: Path,
    split: str,
    city: str,
    number: int,
    rendered: Iterable[tuple[int, Rendered]],
    annotated: Container[int],
    on_progress: Callable[[int], None],
) -> None:
    """Write frames, whose images are uint8, and their truth; the label maps of annotated ones as annotations too."""
    frames, labels, truth = (dest / folder / split / city for folder in (FRAMES_FOLDER, LABELS_FOLDER, TRUTH_FOLDER))
    for folder in (frames, labels, truth):
        folder.mkdir(parents=True, exist_ok=True)
    for frame, each in rendered:
        key = f"{city}_{number:06d}_{frame:06d}"
        _write_png(frames / f"{key}_leftImg8bit.png", each.image[..., ::-1])
        if frame in annotated:
            _write_png(labels / f"{key}_gtFine_labelIds.png", each.labels)
        _write_truth(truth, key, each)
        on_progress(1)


def _write_truth(folder: Path, key: str, rendered: Rendered) -> None:
    _write_png(truth_path(folder, key, "gtFine_labelIds"), rendered.labels)
    for offset, name in OTHER_FRAMES.items():
        if offset in rendered.flow_to:
            write_true_flow(truth_path(folder, key, f"flow_to_{name}"), rendered.flow_to[offset])
            occluded = rendered.occluded_in[offset].astype(np.uint8) * 255
            _write_png(truth_path(folder, key, f"occluded_in_{name}"), occluded)


def _write_png(path: Path, image: np.ndarray) -> None:
    """Store an image [H,W] or [H,W,BGR] uint8. Raises: OSError."""
    encoded, data = cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    assert encoded
    path.write_bytes(data.tobytes())
