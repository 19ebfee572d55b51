"""Motion from a codec: vectors that a video holds already, or that an encoder makes of its frames in milliseconds."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import av
import cv2
import numpy as np
from torch import Tensor

from sdcnet.errors import MotionError
from sdcnet.frames.transcoding import LARGEST_GROUP, Transcoder
from sdcnet.motion.classical import dis_flow, to_flow, to_grey, to_pixels
from sdcnet.motion.estimator import CodedObservation, Observation, Step
from sdcnet.motion.registry import MotionSettings
from sdcnet.motion.vectors import CellFlow

_log = logging.getLogger(__name__)


class CodecMotion:
    """The vectors of a codec, a value for each 8x8 pixels.

    Those of a video serve the steps from a frame to the one before it, where they surely lead there. For all others,
    as for steps that lead to the next frame, the fallback serves: an encoder, which is given the frames in the order of
    the walk, so that its vectors lead the right way; or DIS. With `transcode`, the encoder serves everywhere.
    """

    num_history = 1
    refinable = True
    full_size = False
    is_network = False
    transfers = None
    takes: tuple[str, ...] = ("transcode", "fallback")

    def __init__(self, transcode: str | None = None, fallback: str = "mpeg4") -> None:
        self.reads_vectors = transcode is None
        self._encodes = "mpeg4" in (transcode, fallback)
        self._has_told = False
        versions: dict[str, object] = {"opencv": cv2.__version__}
        if self._encodes:
            versions = {"libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}
        vectors = {"vectors": "video", "fallback": fallback, "negative_offsets": fallback}
        served_by = {"vectors": transcode} if transcode else vectors
        self.fingerprint: Mapping[str, object] = {"motion": "codec", **served_by, **versions}

    @classmethod
    def open(cls, settings: MotionSettings) -> Self:
        """Raises: MotionError for a fallback that nothing would use."""
        if settings.transcode and settings.fallback != "mpeg4":
            raise MotionError(
                "with --transcode all vectors are an encoder's, and nothing falls back; leave --fallback out"
            )
        return cls(settings.transcode, settings.fallback)

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        """Raises: MotionError for observations that know nothing of a codec, unless all are transcoded."""
        found = {step: self._stored(observations, step) for step in steps} if self.reads_vectors else {}
        self._tell(found)
        chain = _Chain(observations)
        for step in steps:
            cells = found.get(step)
            if cells is not None:
                yield cells.dense(_size(observations[step.target]))
            elif self._encodes:
                yield chain.flow(step)
            else:
                pair = (to_grey(observations[offset].pixels) for offset in (step.target, step.source))
                yield to_flow(dis_flow(*pair))

    def _stored(self, observations: Mapping[int, Observation], step: Step) -> CellFlow | None:
        """What the video says of a step, if it does."""
        target = observations[step.target]
        if not isinstance(target, CodedObservation):
            raise MotionError(
                "motion 'codec' reads the motion vectors of videos, found frames without any: give a video, or have "
                "them made, with --transcode mpeg4"
            )
        return target.to_previous if step.target - step.source == 1 else None

    def _tell(self, found: Mapping[Step, CellFlow | None]) -> None:
        """Say once, of the first steps where it happens, how many the video has no vectors for."""
        forward = [cells for step, cells in found.items() if step.target > step.source]
        num_without = sum(cells is None for cells in forward)
        if num_without and not self._has_told:
            self._has_told = True
            server = "an encoder" if self._encodes else "DIS"
            _log.warning(
                "%s no motion vectors that surely lead to the frame before (key frames; B-frames, or "
                "several references; or a codec that exports none): %s serves there, and wherever else it is so",
                f"{num_without} of {len(forward)} frames have" if len(forward) > 1 else "a frame has",
                server,
            )


class _Chain:
    """An encoder that is given the frames of steps one after another, as long as each begins where the last ended."""

    def __init__(self, observations: Mapping[int, Observation]) -> None:
        self._observations = observations
        self._transcoder: Transcoder | None = None
        self._end: int | None = None  # the frame that was encoded last
        self._num_left = 0  # frames until the group is full

    def flow(self, step: Step) -> Tensor:
        """Raises: MotionError for frames that are too large for the encoder."""
        if self._transcoder is None or self._end != step.source or self._num_left == 0:
            self._transcoder, self._num_left = Transcoder(_size(self._observations[step.source])), LARGEST_GROUP - 1
            self._vectors_of(step.source)
        records = self._vectors_of(step.target)
        assert records is not None  # only the first of a group has none
        self._end, self._num_left = step.target, self._num_left - 1
        return CellFlow.of(records, _size(self._observations[step.target])).dense()

    def _vectors_of(self, offset: int) -> np.ndarray | None:
        assert self._transcoder is not None
        records, _ = self._transcoder.vectors_of(to_pixels(self._observations[offset].pixels))
        return records


def _size(observation: Observation) -> tuple[int, int]:
    height, width = observation.pixels.shape[-2:]
    return height, width
