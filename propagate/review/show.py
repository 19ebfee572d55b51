"""One clip as people show it to others: a video of its labels over its frames, or a strip of pictures."""

from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from jobs.files import whole_file
from jobs.registry import meant
from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_label_ids, overlay
from propagate.data.images import decode_frame, encode_png
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, FUSED, REFINED, Sample
from propagate.errors import InputError, ReviewError
from propagate.shards.opening import ADVICE
from propagate.shards.reader import SampleRecord, Store
from sdcnet.frames.writing import film

VIDEO, STRIP = ".mp4", ".png"
FRAMES_PER_SECOND = 5
SHARE = 0.6  # of the labels' colours over a frame
LONGEST = 1280  # pixels of the longer side of a video's frame
COLUMN = 240  # pixels, the width of a picture of a strip
MARK = (255, 255, 255)  # around what a person annotated, inside a black line


def show_clip(store: Store, out: Path, key: str | None = None) -> int:
    """Write the samples of one clip in order of time -> how many they are.

    out: what ends in .mp4 becomes a video of the labels over the frames, what ends in .png a strip: frames, labels over
    them, and confidence (white: sure), a column each. The annotated frame has a white border. key: the clip's, which is
    its annotated frame's; None takes the first of the store.

    Raises: ReviewError where there is no such clip, `out` is there already, has another ending, or cannot be written;
    StoreError.
    """
    if out.suffix not in (VIDEO, STRIP):
        raise ReviewError(f"{out}: ends in '{out.suffix}', expected {VIDEO} for a video or {STRIP} for a strip")
    if out.exists():
        raise ReviewError(f"{out}: is there already; remove it, or give --out another name")
    key, samples = _clip(store, key)
    classes = store.manifest.classes
    try:
        with whole_file(out) as file:
            if out.suffix == VIDEO:
                _write_video(file, samples, key, classes)
            else:
                file.write(encode_png(_strip(samples, key, classes), level=6))
    except InputError as error:
        raise ReviewError(f"{store.path}: {error}; {ADVICE}") from None
    except OSError as error:
        raise ReviewError(f"{out}: cannot be written ({error.strerror or error}); give another --out") from None
    return len(samples)


def _clip(store: Store, key: str | None) -> tuple[str, list[Sample]]:
    """A clip's key, and the samples with its labels by offset, those that lie with another clip too.

    Raises: ReviewError, StoreError.
    """
    keys = {clip.key: index for index in store.indices for clip in store.manifest.plan[index].clips}
    for index in store.indices if key is None else [keys[key]] if key in keys else []:
        with store.open(index) as shard:
            wanted = key or shard.records[0].source_key
        with_both = [
            number for number in store.indices if {FUSED, REFINED} & store.manifest.shards[number].origins.keys()
        ]
        samples: list[Sample] = []
        for number in sorted({index, *with_both}):
            with store.open(number) as shard:
                places = [place for place, record in enumerate(shard.records) if _offset(record, wanted) is not None]
                samples += map(shard.sample, places)
        if samples:
            return wanted, sorted(samples, key=lambda sample: _offset(sample, wanted) or 0)
    if key is None:
        raise ReviewError(f"{store.path}: holds no samples to show; `propagate info` tells why")
    advice = meant(key, keys) or "; `propagate info --samples` lists the clips that there are"
    raise ReviewError(f"{store.path}: has no samples of a clip '{key}'{advice}")


def _offset(record: SampleRecord | Sample, key: str) -> int | None:
    """Its offset from that annotated frame; None where its labels do not come from there."""
    if record.source_key == key:
        return record.offset
    return record.second_offset if record.origin in (FUSED, REFINED) and record.second_source_key == key else None


def _write_video(file: BinaryIO, samples: list[Sample], key: str, classes: ClassTable) -> None:
    """A frame for each sample."""
    height, width = samples[0].size
    scale = min(1.0, LONGEST / max(height, width))
    height, width = (max(2, round(side * scale)) for side in (height, width))
    with film(file, FRAMES_PER_SECOND) as add:
        for sample in samples:
            picture = _shrunk(_labelled(sample, classes), width, height)
            if sample.origin == ANNOTATED:
                _mark(picture)
            _write_text(picture, _caption(sample, key))
            add(picture)


def _strip(samples: list[Sample], key: str, classes: ClassTable) -> np.ndarray:
    """[H,W,3] uint8 RGB: of each sample a column of its frame, its labels and its confidence."""
    columns = []
    for sample in samples:
        height = max(1, round(sample.size[0] * COLUMN / sample.size[1]))
        confidence = np.repeat((sample.confidence * (255 // (CONFIDENCE_LEVELS - 1)))[..., None], 3, axis=2)
        column = [_shrunk(each, COLUMN, height) for each in (_frame(sample), _labelled(sample, classes), confidence)]
        if sample.origin == ANNOTATED:
            for picture in column:
                _mark(picture)
        _write_text(column[0], _caption(sample, key))
        columns.append(np.concatenate(column))
    return np.concatenate(columns, axis=1)


def _frame(sample: Sample) -> np.ndarray:
    return decode_frame(sample.image, sample.key) if isinstance(sample.image, bytes) else sample.image


def _labelled(sample: Sample, classes: ClassTable) -> np.ndarray:
    return overlay(_frame(sample), colours_of_label_ids(sample.label, classes), SHARE)


def _shrunk(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _caption(sample: Sample, key: str) -> str:
    return "annotated" if sample.origin == ANNOTATED else f"{_offset(sample, key):+d}"


def _mark(picture: np.ndarray) -> None:
    """Draw a border into a picture, which can be seen on any ground."""
    last = (picture.shape[1] - 1, picture.shape[0] - 1)
    cv2.rectangle(picture, (0, 0), last, (0, 0, 0), 10)
    cv2.rectangle(picture, (0, 0), last, MARK, 6)


def _write_text(picture: np.ndarray, text: str) -> None:
    scale = max(0.45, picture.shape[1] / 1000)
    place = (round(25 * scale), round(45 * scale))
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, round(thickness * max(1, scale)), cv2.LINE_AA
        )
