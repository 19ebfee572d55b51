"""One limit of pixels, for all images that are read: where it comes from, and what it says."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.mutations import of_size

from jobs.console.exit_codes import Commands
from jobs.errors import FileError
from jobs.image_limit import DEFAULT_MAX_PIXELS, VARIABLE, max_pixels, open_image
from propagate.data.clip import Resource
from propagate.data.images import encode_png, image_size, read_image
from propagate.errors import InputError
from propagate.synth.truth import read_occlusion
from sdcnet.errors import FlowFileError, FrameError
from sdcnet.flow_files import read_flow, write_flow
from sdcnet.frames import open_sequences

FRAME = np.zeros((30, 40, 3), np.uint8)


def test_squares_of_16_384_pixels_are_read_which_pillow_alone_would_refuse() -> None:
    square = BytesIO(of_size(16384, 16384)(encode_png(FRAME)))  # which Pillow opens before it reads a pixel
    assert open_image(square, "x.png", FileError).size == (16384, 16384)
    assert max_pixels() == DEFAULT_MAX_PIXELS == 16384**2


@pytest.mark.parametrize("text", ["many", "0", "-3", "1e9"])
def test_a_limit_that_makes_no_sense_is_a_usage_error(text: str) -> None:
    @click.group(cls=Commands, variables="X", failures=())
    def main() -> None: ...

    @main.command()
    def work() -> None: ...

    assert CliRunner().invoke(main, ["work"], env={VARIABLE: ""}).exit_code == 0
    result = CliRunner().invoke(main, ["work"], env={VARIABLE: text})
    assert result.exit_code == 2
    assert f"{VARIABLE} is '{text}', expected a number of pixels, such as 268435456" in result.output


def _as_frame(path: Path) -> None:
    read_image(Resource(str(path.parent), path.name, path.stat().st_size))


def _as_size(path: Path) -> None:
    image_size(Resource(str(path.parent), path.name, 9))


def _as_sequence(path: Path) -> None:
    path.with_name("2.png").hardlink_to(path)
    open_sequences([path.parent])


@pytest.mark.parametrize(
    ("name", "read", "error"),
    [
        ("1.png", _as_frame, InputError),
        ("1.png", _as_size, InputError),
        ("1.png", read_occlusion, InputError),
        ("1.png", _as_sequence, FrameError),
        ("1.png", read_flow, FlowFileError),
        ("1.flo", read_flow, FlowFileError),
    ],
)
def test_whatever_reads_images_refuses_more(
    name: str, read: Callable[[Path], object], error: type[FileError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if path.suffix == ".flo":
        write_flow(path, torch.zeros(1, 2, *FRAME.shape[:2]))
    else:
        path.write_bytes(encode_png(FRAME))
    monkeypatch.setenv(VARIABLE, "1199")
    with pytest.raises(error, match=r"30x40, 1200 pixels, expected at most 1199; scale it, or let LABEL_PROPAGATION_"):
        read(path)
