"""`propagate show`: a clip as a video or a strip."""

import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.stores import write_store
from PIL import Image

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.errors import ReviewError
from propagate.review.show import COLUMN, LONGEST, show_clip
from propagate.shards.reader import Store

MakeStore = Callable[..., Store]
Cli = Callable[..., subprocess.CompletedProcess[str]]
GREYS = {-2: 20, -1: 70, 0: 120, 1: 170, 2: 220}


@pytest.fixture
def greys(make_store: MakeStore, make_sample: Callable[..., object]) -> Store:
    """A clip whose frames are brighter from offset to offset, as wide as needs an odd height when shrunk."""
    return make_store(
        [
            make_sample(
                offset + 2,
                offset=offset,
                source_key="seq_000000",
                size=(121, 301),
                image=encode_png(np.full((121, 301, 3), GREYS[offset], np.uint8)),
                label=np.zeros((121, 301), np.uint8),
                confidence=np.full((121, 301), 15 if offset else 0, np.uint8),
            )
            for offset in (0, 2, -1, 1, -2)
        ]
    )


def test_a_video_runs_in_order_of_time_with_the_annotated_frame_marked(greys: Store, tmp_path: Path) -> None:
    assert show_clip(greys, tmp_path / "clip.mp4") == 5
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(120, 300, 3)] * 5
    middles = [frame[60:, 150:, :].mean() for frame in frames]
    assert middles == sorted(middles)
    borders = [frame[-2:, 40:-40].mean() > 230 for frame in frames]
    assert borders == [False, False, True, False, False]


def test_large_frames_are_shrunk_for_a_video(
    make_store: MakeStore, make_sample: Callable[..., object], tmp_path: Path
) -> None:
    store = make_store([make_sample(1, size=(64, 2 * LONGEST), raw=True)])
    show_clip(store, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (LONGEST, 32)


def test_a_strip_has_a_column_for_each_sample(greys: Store, tmp_path: Path) -> None:
    show_clip(greys, tmp_path / "strip.png")
    strip = np.array(Image.open(BytesIO((tmp_path / "strip.png").read_bytes())))
    height = round(121 * COLUMN / 301)
    assert strip.shape == (3 * height, 5 * COLUMN, 3)
    columns = [strip[:, number * COLUMN : (number + 1) * COLUMN] for number in range(5)]
    frames = [int(column[height // 2 + 10 : height - 10, COLUMN // 2 : -10].mean()) for column in columns]
    assert frames == list(GREYS.values())
    assert [int(column[-20, COLUMN // 2, 0]) for column in columns] == [255, 255, 0, 255, 255]  # confidence
    assert [column[-1].min() == 255 for column in columns] == [True] * 5
    assert [column[0, COLUMN // 2].tolist() for column in columns][2] == [255] * 3


def test_nothing_is_overwritten_and_a_wrong_name_says_which_was_meant(greys: Store, tmp_path: Path) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    with pytest.raises(ReviewError, match=r"there.png: is there already; remove it, or give --out another name"):
        show_clip(greys, there)
    assert there.read_bytes() == b"mine"
    with pytest.raises(ReviewError, match=r"ends in '.gif', expected .mp4 for a video or .png for a strip"):
        show_clip(greys, tmp_path / "clip.gif")
    with pytest.raises(ReviewError, match="has no samples of a clip 'seq_00000'; did you mean 'seq_000000'"):
        show_clip(greys, tmp_path / "clip.png", "seq_00000")
    with pytest.raises(ReviewError, match="cannot be written"):
        show_clip(greys, tmp_path / "none" / "clip.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "there.png"]


def test_a_clip_is_shown_by_its_key(clip: Store, cli: Cli, tmp_path: Path) -> None:
    done = cli("show", clip.path, "--key", "seq_000012", "--out", tmp_path / "strip.png")
    assert done.stdout == f"{tmp_path / 'strip.png'}: 5 samples\n"
    cli("show", clip.path, "--key", "seq_000002", "--out", tmp_path / "other.png")
    cli("show", clip.path, "--out", tmp_path / "first.png")
    assert (tmp_path / "other.png").read_bytes() == (tmp_path / "first.png").read_bytes()
    assert (tmp_path / "other.png").read_bytes() != (tmp_path / "strip.png").read_bytes()


def test_a_clip_is_shown_with_the_samples_that_it_shares_with_another(
    tmp_path: Path, make_sample: Callable[..., Sample], cli: Cli
) -> None:
    def grey(number: int, source: str, offset: int, second: str = "", second_offset: int = 0) -> Sample:
        about = {"origin": "fused", "second_source_key": second, "second_offset": second_offset} if second else {}
        image = encode_png(np.full((70, 90, 3), 20 + 30 * number, np.uint8))
        return make_sample(number, source_key=source, offset=offset, image=image, **about)

    shards = [
        [grey(1, "a", 0), grey(2, "a", 1), grey(3, "a", 2, "b", -3), grey(4, "b", -2, "a", 3), grey(0, "a", -1)],
        [grey(6, "b", 0), grey(5, "b", -1)],
    ]
    store = write_store(tmp_path / "store", shards, load_classes("camvid"))
    for args, numbers in (((), [0, 1, 2, 3, 4]), (("--key", "b"), [3, 4, 5, 6])):
        out = tmp_path / f"{len(args)}.png"
        done = cli("show", store, "--out", out, *args)
        assert done.stdout == f"{out}: {len(numbers)} samples\n"
        strip = np.array(Image.open(out))
        height = strip.shape[0] // 3
        columns = np.split(strip[height // 2 : height - 10], len(numbers), axis=1)
        assert [int(column[:, COLUMN // 2 : -10].mean()) for column in columns] == [20 + 30 * n for n in numbers]
