"""Vectors of a codec as flow, against reference numbers: golden/codec, of which README.md there says what they are."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sdcnet.frames.exported import IS_KEY, RECORD
from sdcnet.frames.stream import FrameStream, StreamedFrame
from sdcnet.geometry import warp_frames
from sdcnet.motion.vectors import CellFlow

GOLDEN = Path(__file__).parents[2] / "golden" / "codec"
CLIPS = json.loads((GOLDEN / "clips.json").read_text())
SIZE = (64, 96)
FIELDS = ("source", "w", "h", "src_x", "src_y", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
CLEAR = (1, 2, 3, 4, 7, 11, 13, 14)  # frames that move, without the square


@pytest.fixture(scope="module", params=["mpeg4", "mpeg4_mv4", "h264"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"clip_{name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def frames(name: str) -> list[StreamedFrame]:
    file = GOLDEN / f"clip_{name}.mp4"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == CLIPS[name]["sha256"]
    return list(FrameStream(file, with_vectors=True))


def of_file(golden: dict[str, np.ndarray], number: int) -> np.ndarray:
    """The records of a frame, as the reference numbers hold them."""
    mine = golden["mv_frame"] == number
    records = np.zeros(mine.sum(), RECORD)
    for field in FIELDS:
        records[field] = golden[f"mv_{field}"][mine]
    return records


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(one.astype(np.float64) - other))))


def luma(frame: StreamedFrame) -> np.ndarray:
    return frame.pixels @ np.array([0.299, 0.587, 0.114])


def compensated(target: StreamedFrame, source: StreamedFrame, sign: int = 1) -> float:
    """The PSNR of the source carried along the target's vectors."""
    flow = sign * CellFlow.of(target.vectors, target.size).dense()
    carried = warp_frames(torch.from_numpy(luma(source)).float()[None, None], flow)
    return psnr(luma(target), carried[0, 0].numpy())


def test_records_to_flow_is_exact(golden: dict[str, np.ndarray]) -> None:
    for number in range(len(golden["key"])):
        cells = CellFlow.of(of_file(golden, number), SIZE)
        np.testing.assert_array_equal(cells.flow.numpy(), golden["flow"][number])
        np.testing.assert_array_equal(cells.known.numpy(), golden["known"][number].astype(bool))


def test_the_decoder_gives_the_same_records(golden: dict[str, np.ndarray], frames: list[StreamedFrame]) -> None:
    assert [frame.is_key for frame in frames] == golden["key"].astype(bool).tolist()
    assert [frame.number for frame in frames] == list(range(15))
    for frame in frames:
        if frame.is_key:
            assert (frame.vectors, frame.without_vectors) == (None, IS_KEY)
            continue
        assert frame.vectors is not None
        assert frame.vectors.dtype == RECORD
        expected = of_file(golden, frame.number)
        for field in FIELDS:
            np.testing.assert_array_equal(frame.vectors[field], expected[field])


def test_motion_has_the_right_sign(frames: list[StreamedFrame]) -> None:
    for number in CLEAR:
        target, source = frames[number], frames[number - 1]
        copied, right, wrong = (
            psnr(luma(target), luma(source)),
            *(compensated(target, source, sign) for sign in (1, -1)),
        )
        assert right > copied + 5
        assert wrong < copied


def test_motion_compensation_comes_to_the_same() -> None:
    with np.load(GOLDEN / "clip_mpeg4.npz") as golden:
        luma, every = torch.from_numpy(golden["y"]).float(), [CellFlow.of(of_file(golden, n), SIZE) for n in range(15)]
    for told in CLIPS["mpeg4"]["per_frame"]:
        number = told["t"]
        flow = every[number].flow.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
        carried = warp_frames(luma[number - 1][None, None], flow[None])[0, 0]
        assert psnr(luma[number].numpy(), carried.numpy()) == pytest.approx(told["psnr_mc"], abs=0.006)


def test_motion_is_the_true_one(golden: dict[str, np.ndarray], frames: list[StreamedFrame]) -> None:
    for number in CLEAR:
        cells = CellFlow.of(frames[number].vectors, SIZE)
        error = (cells.flow - torch.from_numpy(-golden["moves"][number]).float().view(2, 1, 1)).abs().amax(dim=0)
        inner = torch.zeros_like(cells.known)
        inner[1:-1, 1:-1] = cells.known[1:-1, 1:-1]
        assert (error[inner] <= 0.25).all()


def block(x: int, y: int, side: int, motion: tuple[int, int]) -> tuple[int, ...]:
    return (-1, side, side, 0, 0, x + side // 2, y + side // 2, 0, *motion, 4)


def test_cells_that_are_not_known_are_filled_from_their_neighbours() -> None:
    records = np.array([block(0, 0, 8, (4, 0)), block(0, 16, 8, (8, 0)), block(32, 0, 16, (0, -40))], RECORD)
    cells = CellFlow.of(records, (20, 44))  # 3x6 cells, of which the last column and row are cut
    assert cells.known.int().tolist() == [[1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0]]
    filled = cells.filled()
    assert filled[0, :, 0].tolist() == [1, 1.5, 2]
    assert filled[:, 2, 5].tolist() == [0, -10]
    assert filled[0, :, 1].tolist() == pytest.approx([1, 1.5, 2], abs=1e-6)
    assert filled[0, 0, 2].item() == pytest.approx((1 + 1.5 + 0 + 0) / 4)  # in the second round, from both sides
    assert cells.dense().shape == (1, 2, 20, 44)
    assert cells.dense()[0, 1, 19, 43] == -10
    assert cells.share_known == pytest.approx(6 / 18)


def test_where_nothing_is_known_nothing_moves() -> None:
    cells = CellFlow.of(np.empty(0, RECORD), (24, 40))
    assert not cells.known.any()
    assert torch.equal(cells.dense(), torch.zeros(1, 2, 24, 40))


def test_blocks_outside_the_frame_are_cut_off() -> None:
    cells = CellFlow.of(np.array([block(-8, -8, 16, (4, 8)), block(32, 16, 16, (4, 4))], RECORD), (24, 40))
    assert cells.known.int().sum() == 2
    assert cells.flow[:, 0, 0].tolist() == [1, 2]
    assert cells.flow[:, 2, 4].tolist() == [1, 1]


def test_the_conversion_costs_little() -> None:
    """0.3 ms at 512x1024 is usual; a loop over the 8192 blocks takes longer than this allows."""
    records = np.array([block(x, y, 8, (3, 5)) for y in range(0, 512, 8) for x in range(0, 1024, 8)], RECORD)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        CellFlow.of(records, (512, 1024))
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.01
