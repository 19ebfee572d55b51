"""Files of flow: both formats there and back, against other programs, and files that are damaged or something else."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from propagate.synth.write import write_true_flow
from sdcnet.errors import FlowFileError
from sdcnet.flow_files import PNG_LIMIT, read_flow, write_flow

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))


def flow_of(rows: object) -> Tensor:
    """[[(dx, dy), …], …] -> flow [1,2,H,W]."""
    return torch.tensor(rows, dtype=torch.float32).permute(2, 0, 1)[None]


@st.composite
def flows(draw: st.DrawFn, limit: float) -> tuple[Tensor, Tensor]:
    height, width = draw(SIZES)
    values = st.floats(-limit, limit, width=32)
    flow = draw(arrays(np.float32, (1, 2, height, width), elements=values))
    return torch.from_numpy(flow), torch.from_numpy(draw(arrays(bool, (1, 1, height, width))))


@given(case=flows(limit=2.0**29))
def test_flo_comes_back_bit_by_bit_where_it_is_known(
    case: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    flow, valid = case
    path = tmp_path_factory.getbasetemp() / "any.flo"
    write_flow(path, flow, valid)
    found, known = read_flow(path)
    assert torch.equal(known, valid)
    assert torch.equal(found, torch.where(valid, flow, 0.0))
    write_flow(path, flow)
    assert torch.equal(read_flow(path)[0], flow)
    assert read_flow(path)[1].all()


@given(case=flows(limit=511.984375))
@example(case=(torch.tensor([128.9609, 0.0]).view(1, 2, 1, 1), torch.ones(1, 1, 1, 1).bool()))
def test_png_comes_back_to_a_128th_of_a_pixel_where_it_is_known(
    case: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    flow, valid = case
    path = tmp_path_factory.getbasetemp() / "any.png"
    write_flow(path, flow, valid)
    found, known = read_flow(path)
    assert torch.equal(known, valid)
    assert (found - torch.where(valid, flow, 0.0)).abs().max() <= 1 / 128


def test_flo_is_what_opencv_writes_and_reads(tmp_path: Path) -> None:
    path = tmp_path / "flow.flo"
    pixels = np.random.default_rng(0).normal(0, 20, (5, 7, 2)).astype(np.float32)
    cv2.writeOpticalFlow(str(path), pixels)
    flow, valid = read_flow(path)
    assert valid.all()
    assert torch.equal(flow, flow_of(pixels.tolist()))
    write_flow(path, flow)
    assert np.array_equal(cv2.readOpticalFlow(str(path)), pixels)


@pytest.mark.parametrize("unknown", [1e10, -1e10, float("nan"), float("inf")])
def test_flo_that_says_unknown_is_unknown(tmp_path: Path, unknown: float) -> None:
    path = tmp_path / "flow.flo"
    path.write_bytes(struct.pack("<4sii4f", b"PIEH", 2, 1, 0.5, -1.5, unknown, 0.0))
    flow, valid = read_flow(path)
    assert valid.tolist() == [[[[True, False]]]]
    assert torch.equal(flow, flow_of([[(0.5, -1.5), (0, 0)]]))


def test_png_is_what_kitti_says(tmp_path: Path) -> None:
    path = tmp_path / "000000_10.png"
    stored = np.array([[[1, 32768, 32768 + 64], [1, 1, 65535], [0, 40000, 40000], [0, 0, 0]]], np.uint16)  # valid, v, u
    cv2.imwrite(str(path), stored)
    flow, valid = read_flow(path)
    assert valid.tolist() == [[[[True, True, False, False]]]]
    assert torch.equal(flow, flow_of([[(1, 0), (PNG_LIMIT, -PNG_LIMIT), (0, 0), (0, 0)]]))
    write_flow(path, flow, valid)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), stored * (stored[..., :1] > 0))


def test_what_synth_writes_is_read_to_the_nearest_64th(tmp_path: Path) -> None:
    flow = np.random.default_rng(0).normal(0, 200, (2, 20, 30)).astype(np.float32)
    path = tmp_path / "flow.png"
    write_true_flow(path, flow)
    known = (np.abs(flow) <= PNG_LIMIT).all(0)
    expected = np.where(known, np.round(flow * 64) / 64, 0)
    assert 0 < known.mean() < 1
    found, valid = read_flow(path)
    assert np.array_equal(found[0].numpy(), expected)
    assert np.array_equal(valid[0, 0].numpy(), known)


FLO = struct.pack("<4sii6f", b"PIEH", 3, 1, *range(6))


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.flo", b"", "begins with b'', expected b'PIEH'"),
        ("a.flo", FLO[:7], "ends within its header, after 7 bytes. Copy or download it again"),
        ("a.flo", FLO[:-1], "has 35 bytes, expected 36 of a flow of 1x3 pixels, which it says it is. Copy"),
        ("a.flo", FLO + b"\0", "has 37 bytes, expected 36"),
        ("a.flo", struct.pack("<4sii", b"PIEH", -3, 5), "has 12 bytes, expected"),
        ("a.flo", struct.pack("<4sii", b"PIEH", 0, 5), "has 12 bytes, expected"),
        ("a.flo", b"HEIP" + FLO[4:], "begins with b'HEIP', expected b'PIEH', as a .flo file does"),
        ("a.flo", png(np.zeros((2, 2, 3), np.uint16)), r"begins with b'\\x89PNG', expected b'PIEH'"),
        ("a.png", b"", "begins with b'', which no PNG does"),
        ("a.png", FLO, "begins with b'PIEH.*', which no PNG does"),
        ("a.png", png(np.zeros((2, 2, 3), np.uint8)), "PNG of 8 bits in 3 channels, expected flow as KITTI stores it"),
        ("a.png", png(np.zeros((2, 2), np.uint16)), "PNG of 16 bits in 1 channels, expected flow as KITTI stores it"),
        ("a.png", png(np.zeros((2, 2, 4), np.uint16)), "PNG of 16 bits in 4 channels, expected flow as KITTI"),
        ("a.PNG", png(np.ones((20, 20, 3), np.uint16))[:-30], "PNG that cannot be decoded: damaged, or not whole"),
        ("a.txt", FLO, "'.txt' is no format of flow that is known here, expected .flo or .png"),
    ],
)
def test_files_that_are_no_flow_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FlowFileError, match=f"^{path}: {message}"):
        read_flow(path)


def test_absent_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FlowFileError, match=r"a\.flo: cannot be read \(No such file or directory\)"):
        read_flow(tmp_path / "a.flo")
    with pytest.raises(FlowFileError, match=r"b/a\.flo: cannot be written \(No such file or directory\)"):
        write_flow(tmp_path / "b" / "a.flo", torch.zeros(1, 2, 3, 3))


@pytest.mark.parametrize("name", ["a.flo", "a.png"])
@pytest.mark.parametrize("value", [2e9, -2e9, float("nan")])
def test_flow_that_does_not_fit_is_refused_not_replaced(tmp_path: Path, name: str, value: float) -> None:
    flow = torch.zeros(1, 2, 2, 3)
    flow[0, 1, 1, 2] = value
    path = tmp_path / name
    with pytest.raises(FlowFileError, match=r"a flow of \(0, .+\) at x=2, y=1 is beyond the ±.+ pixels"):
        write_flow(path, flow)
    assert not path.exists()
    write_flow(path, flow, flow.abs().sum(1, keepdim=True) == 0)  # where it is not said to be known, it may be anything
    assert read_flow(path)[1].sum() == 5


def test_flow_beyond_512_pixels_belongs_into_flo(tmp_path: Path) -> None:
    flow = flow_of([[(600, 0)]])
    with pytest.raises(FlowFileError, match=r"beyond the ±511\.984 pixels that its format holds\. Write a \.flo file"):
        write_flow(tmp_path / "a.png", flow)
    write_flow(tmp_path / "a.flo", flow)
    assert torch.equal(read_flow(tmp_path / "a.flo")[0], flow)


@pytest.mark.parametrize(("flow", "valid"), [((2, 3, 3), None), ((2, 2, 3, 3), None), ((1, 2, 3, 3), (1, 1, 3, 4))])
def test_other_shapes_are_refused(tmp_path: Path, flow: tuple[int, ...], valid: tuple[int, ...] | None) -> None:
    with pytest.raises(ValueError, match=r"expected a flow \[1,2,H,W\] and valid \[1,1,H,W\], found"):
        write_flow(tmp_path / "a.flo", torch.zeros(flow), None if valid is None else torch.ones(valid).bool())


def test_flying_chairs_are_read(data: Path) -> None:
    path = data / "flying_chairs" / "0000000-gt.flo"
    flow, valid = read_flow(path)
    assert valid.all()
    assert np.array_equal(flow[0].permute(1, 2, 0).numpy(), cv2.readOpticalFlow(str(path)))
