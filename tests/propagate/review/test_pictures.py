"""Samples as small pictures with their maps, and data as scripts."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from helpers.reviews import map_of
from PIL import Image

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import InputError
from propagate.review.legend import Legend
from propagate.review.pictures import LIMIT, LONGEST, draw_sample, draw_source
from propagate.review.scripts import call
from propagate.shards.manifest import Manifest

MakeSample = Callable[..., Sample]


@pytest.fixture(scope="module")
def legend() -> Legend:
    classes = load_classes("camvid")
    return Legend.of(Manifest(dataset="camvid", split="val", settings={}, versions={}, classes=classes, plan=()))


def pixels_of(uri: str) -> np.ndarray:
    return np.array(Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_small_sample_keeps_every_pixel_of_its_maps(make_sample: MakeSample, legend: Legend) -> None:
    sample = make_sample(1, image=np.full((70, 90, 3), (200, 30, 60), np.uint8))
    truth, other = np.roll(sample.label, 1, 0), np.roll(sample.label, 1, 1)
    drawn = draw_sample(sample, legend, truth=truth, against=other)
    assert (drawn["width"], drawn["height"], drawn["full_width"], drawn["full_height"]) == (90, 70, 90, 70)
    for name, expected in (("label", sample.label), ("truth", truth), ("against", other)):
        assert (map_of(drawn, name) == legend.index_of[expected]).all()
    assert (map_of(drawn, "confidence") == sample.confidence | sample.reason << 4).all()
    of_former_version = draw_sample(replace(sample, reason=None), legend)
    assert (map_of(of_former_version, "confidence") == sample.confidence).all()
    assert drawn["frame"].startswith("data:image/webp;base64,")
    assert np.abs(pixels_of(drawn["frame"]).astype(int) - (200, 30, 60)).max() < 12


def test_what_is_not_known_is_null(make_sample: MakeSample, legend: Legend) -> None:
    drawn = draw_sample(make_sample(1), legend)
    assert drawn["truth"] is None
    assert drawn["against"] is None


@pytest.mark.parametrize("size", [(1024, 2048), (480, 360), (3, 4000), (64, 64)])
def test_the_noisiest_sample_fits_where_its_script_lies(
    make_sample: MakeSample, legend: Legend, size: tuple[int, int]
) -> None:
    sample = make_sample(1, size=size, raw=True)
    drawn = draw_sample(sample, legend, truth=sample.label, against=sample.label)
    assert len(call("picture", 123456, drawn)) <= LIMIT
    assert max(drawn["width"], drawn["height"]) <= LONGEST
    assert pixels_of(drawn["frame"]).shape[:2] == (drawn["height"], drawn["width"])
    assert len(call("source", 123456, draw_source(sample, legend))) <= LIMIT


def test_maps_show_the_same_place_as_the_frame_when_they_are_smaller(make_sample: MakeSample, legend: Legend) -> None:
    label = np.zeros((480, 960), np.uint8)
    label[:, 480:] = 8
    image = np.zeros((480, 960, 3), np.uint8)
    image[:, 480:] = 255
    maps = {"confidence": np.full((480, 960), 9, np.uint8), "reason": np.zeros((480, 960), np.uint8)}
    sample = make_sample(1, size=(480, 960), label=label, image=image, **maps)
    drawn = draw_sample(sample, legend)
    found = map_of(drawn, "label")
    assert found.shape == (320, 640)
    assert (found[:, :320] == legend.index_of[0]).all()
    assert (found[:, 320:] == legend.index_of[8]).all()
    assert pixels_of(drawn["frame"])[:, 330:].min() > 200


def test_a_damaged_frame_is_named(make_sample: MakeSample, legend: Legend) -> None:
    with pytest.raises(InputError, match="seq_000001"):
        draw_sample(make_sample(1, image=b"\x89PNG\r\n\x1a\n"), legend)


def test_no_text_ends_a_script_and_every_byte_is_ascii() -> None:
    hostile = "</script><!--<b>&amp;\u2028日本\U0001f697'\"\\"
    script = call("store", {"name": hostile, "none": float("nan")})
    assert not set(script) & set(b"<>&")
    assert script.isascii()
    inner = script.decode().removeprefix("report.store(").removesuffix(");\n")
    assert json.loads(inner) == {"name": hostile, "none": None}
    assert call("picture", 3, {}) == b"report.picture(3, {});\n"
