"""Motion without learned weights: DIS, TV-L1, and none at all."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from sdcnet.errors import MotionError
from sdcnet.motion.estimator import Observation, Step
from sdcnet.motion.registry import MotionSettings

SMALLEST_SIDE = 12  # pixels; DIS has no patches to match on less
_NO_GUESS: Any = None  # OpenCV takes it, its type stubs do not


def to_pixels(frame: Tensor) -> np.ndarray:
    """[1,3,H,W] uint8 RGB -> [H,W,3] uint8, contiguous as OpenCV wants it."""
    return np.ascontiguousarray(frame[0].permute(1, 2, 0).numpy())


def to_grey(frame: Tensor) -> np.ndarray:
    """[1,3,H,W] uint8 RGB -> [H,W] uint8 luma."""
    return cv2.cvtColor(to_pixels(frame), cv2.COLOR_RGB2GRAY)


def to_flow(pixels: np.ndarray) -> Tensor:
    """[H,W,2] float32, OpenCV's order -> flow [1,2,H,W]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV on one thread: DIS cuts its work into as many stripes as there are threads, which may show."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def dis_flow(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """flow_target_to_source [H,W,2] float32 by dense inverse search; target, source: [H,W] uint8.

    The same on any number of threads. Raises: MotionError on frames that are too small.

    Reference: Kroeger et al., ECCV 2016; OpenCV's implementation, medium preset, down to full resolution.
    """
    dis = _full_resolution_dis(target.shape)
    with _one_thread():
        return dis.calc(target, source, _NO_GUESS)


def dis_correction(target: np.ndarray, source: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """As `dis_flow`, near a guess [H,W,2] float32: three scales only, and no variational smoothing."""
    dis = _full_resolution_dis(target.shape)
    dis.setCoarsestScale(2)
    dis.setVariationalRefinementIterations(0)
    with _one_thread():
        return dis.calc(target, source, guess.copy())  # it writes into the guess


def _full_resolution_dis(size: tuple[int, ...]) -> cv2.DISOpticalFlow:
    """A new object for every flow: one that was ever given a guess lets its remains into the next flow."""
    height, width = size
    if min(height, width) < SMALLEST_SIDE:
        raise MotionError(f"frames of {height}x{width} are too small for DIS; each side needs {SMALLEST_SIDE} pixels")
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    return dis


class Dis:
    """Dense inverse search on grey frames: see `dis_flow`."""

    num_history = 1
    refinable = True
    full_size = False
    is_network = False
    transfers = None
    takes: tuple[str, ...] = ()
    fingerprint: Mapping[str, object] = {"motion": "dis", "opencv": cv2.__version__}

    @classmethod
    def open(cls, _: MotionSettings) -> Self:
        return cls()

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            target, source = (to_grey(observations[offset].pixels) for offset in (step.target, step.source))
            yield to_flow(dis_flow(target, source))


class TvL1:
    """Total variation with an L1 data term: slow, smooth. Reference: Zach et al., DAGM 2007; scikit-image's."""

    num_history = 1
    refinable = True
    full_size = False
    is_network = False
    transfers = None
    takes: tuple[str, ...] = ()
    fingerprint: Mapping[str, object] = {"motion": "tvl1", "scikit-image": version("scikit-image")}

    @classmethod
    def open(cls, _: MotionSettings) -> Self:
        return cls()

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        from skimage.registration import optical_flow_tvl1  # with SciPy it is large, and DIS needs neither

        for step in steps:
            target, source = (to_grey(observations[offset].pixels) for offset in (step.target, step.source))
            rows, columns = optical_flow_tvl1(target, source, dtype=np.float32)
            yield torch.from_numpy(np.stack((columns, rows)))[None]


class NoMotion:
    """Labels stay where they are: the floor of every comparison."""

    num_history = 1
    refinable = False
    full_size = True
    is_network = False
    transfers = None
    takes: tuple[str, ...] = ()
    fingerprint: Mapping[str, object] = {"motion": "none"}

    @classmethod
    def open(cls, _: MotionSettings) -> Self:
        return cls()

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            yield torch.zeros(1, 2, *observations[step.target].pixels.shape[-2:])
