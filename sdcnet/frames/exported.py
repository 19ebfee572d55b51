"""Motion vectors as a decoder exports them, and whether they lead to the frame shown before."""

from collections import deque
from typing import Any

import numpy as np

from sdcnet.frames.h264 import ReferencesToPrevious

# Codecs whose P-frames have one reference, the I- or P-frame decoded before: MPEG-1, 2 and 4, H.263 and its relatives.
ONE_REFERENCE = ("mpeg1video", "mpeg2video", "mpeg4", "h263", "flv", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2")
# Why a frame comes without vectors.
IS_KEY = "a key frame"
IS_FIRST = "no frame before it"
OTHER_REFERENCES = "it may refer to other frames than the one before (B-frames, several references, or fields)"
NOT_EXPORTED = "this codec exports no vectors"
# The decoder's records, one for each block of a frame; FFmpeg's AVMotionVector.
_FIELDS = (
    *(("source", "<i4", 0), ("w", "u1", 4), ("h", "u1", 5), ("src_x", "<i2", 6), ("src_y", "<i2", 8)),
    *(("dst_x", "<i2", 10), ("dst_y", "<i2", 12), ("flags", "<u8", 16)),
    *(("motion_x", "<i4", 24), ("motion_y", "<i4", 28), ("motion_scale", "<u2", 32)),
)
_NAMES, _FORMATS, _OFFSETS = zip(*_FIELDS, strict=True)
RECORD = np.dtype({"names": _NAMES, "formats": _FORMATS, "offsets": _OFFSETS, "itemsize": 40})
_I, _P = 1, 2  # kinds of frames, of FFmpeg's AVPictureType


class VectorSource:
    """The vectors of the frames of one decoder, which is told to export them.

    It is given each packet before that is decoded, and each frame, in the order in which they come. A frame has
    vectors where every one leads to the frame shown before: a P-frame of a codec in ONE_REFERENCE right after an I- or
    P-frame, or one of H.264 of which its headers say so; see `sdcnet.frames.h264`.
    """

    def __init__(self, codec_context: Any) -> None:
        codec_context.options = {"flags2": "+export_mvs"}
        self._codec: str = codec_context.name
        self._headers = ReferencesToPrevious(codec_context.extradata) if self._codec == "h264" else None
        self._leads: deque[bool] = deque()  # of H.264: of the packets whose frames have not come yet
        self._before: int | None = None  # the kind of the frame shown before

    def take(self, packet: Any) -> None:
        """A packet that is about to be decoded."""
        if self._headers is not None and packet.size:
            leads = self._headers.of(bytes(packet))
            if not packet.is_discard:
                self._leads.append(leads)

    def begin_anew(self) -> None:
        """What comes next does not follow what came: frames are lost, or have another size."""
        self._before = None
        self._leads.clear()

    def of(self, frame: Any) -> tuple[np.ndarray | None, str | None]:
        """The records of a frame's blocks [N] of RECORD, or None and why: one of the sentences above."""
        kind, before = int(frame.pict_type), self._before
        self._before = kind
        leads = bool(self._leads and self._leads.popleft())
        if kind == _I:
            return None, IS_KEY
        if before is None:
            return None, IS_FIRST
        if self._codec in ONE_REFERENCE:
            leads = before in (_I, _P)
        elif self._headers is None:
            return None, NOT_EXPORTED
        if kind != _P or not leads or frame.interlaced_frame:
            return None, OTHER_REFERENCES
        exported = frame.side_data.get("MOTION_VECTORS")
        records = np.empty(0, RECORD) if exported is None else exported.to_ndarray().copy()
        return (None, OTHER_REFERENCES) if (records["source"] > 0).any() else (records, None)
