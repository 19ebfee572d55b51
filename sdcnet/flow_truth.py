"""What can be scored in a folder or a video: its frames, and the layouts that hold the true flow of some.

A flow leads from a target to its source, the frame next to it. In a recording that is the frame before; layouts whose
truth leads from a first frame to a second have the first for their target.

- `propagate synth`: ROOT/leftImg8bit_sequence/…/KEY_leftImg8bit.png with ROOT/truth/…/KEY_flow_to_previous.png; the
  Cityscapes layout itself has the frames alone.
- KITTI 2012 and 2015: ROOT/{image_2,colored_0}/000000_10.png with ROOT/flow_occ and ROOT/flow_noc, to the
  frame 000000_11.png.
- FlyingChairs: X-img0.png, X-img1.png and X-gt.flo, or as it is published, X_img1.ppm, X_img2.ppm and X_flow.flo.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sdcnet.errors import FlowFileError
from sdcnet.flow_files import AGAIN, FLO, decode_png, read_file, read_flow
from sdcnet.frames import FrameSequence, open_sequences
from sdcnet.frames.pictures import PictureSequence

SEQUENCE_FOLDER, TRUTH_FOLDER = "leftImg8bit_sequence", "truth"  # of `propagate synth`
KITTI_TRUTH = "flow_occ"
_KITTI_UNOCCLUDED = "flow_noc"
_KITTI_FRAMES = ("image_2", "colored_0")
_KITTI_NAME = re.compile(r"(?P<scene>.+_)(?P<frame>\d\d)")
_FRAME_SUFFIX = "_leftImg8bit"
# how the names of a pair's files end: truth, first, second
_PAIRS = (("-gt.flo", "-img0.png", "-img1.png"), ("_flow.flo", "_img1.ppm", "_img2.ppm"))


@dataclass(frozen=True, kw_only=True)
class FlowTruth:
    """The file of a true flow, and the one that says what is not occluded in it, if there is any: a mask of what is
    occluded (not 0), or a flow that is known only where nothing is."""

    flow: Path
    occluded: Path | None = None
    unoccluded_flow: Path | None = None

    def read(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The flow [1,2,H,W] float32 pixels, where it is known, and where it is known and not occluded, or None
        where nothing says so: bool [1,1,H,W]. Raises: FlowFileError."""
        flow, valid = read_flow(self.flow)
        if self.occluded is not None:
            seen = ~_read_mask(self.occluded)
        elif self.unoccluded_flow is not None:
            seen = read_flow(self.unoccluded_flow)[1]
        else:
            return flow, valid, None
        if seen.shape != valid.shape:
            sizes = " and ".join("x".join(map(str, mask.shape[2:])) for mask in (valid, seen))
            raise FlowFileError(str(self.flow), f"its flow and its occlusion are of different sizes, {sizes}. {AGAIN}")
        return flow, valid, valid & seen


@dataclass(frozen=True, kw_only=True)
class Target:
    """A frame of a sequence whose motion is to be estimated; `towards` (-1 or 1) is where its source lies."""

    sequence: FrameSequence
    index: int
    towards: int = -1
    truth: FlowTruth | None = None

    def history(self, num_history: int) -> tuple[int, ...]:
        """The frames that lead to the target, farthest first, its source last; where there are too few, the farthest
        is repeated."""
        last = len(self.sequence) - 1
        return tuple(min(max(self.index + self.towards * away, 0), last) for away in range(num_history, 0, -1))


def find_targets(source: Path) -> list[Target]:
    """Every frame that a folder or a video has a source for, with its truth where the folder's layout has one.

    Raises: FrameError, where there are no frames; FlowFileError, where a truth has no frames.
    """
    if (source / KITTI_TRUTH).is_dir():
        return list(_kitti_targets(source))
    if source.is_dir() and (truths := sorted(source.rglob(f"*{FLO}"))):
        return [_pair_target(truth) for truth in truths]
    frames = source / SEQUENCE_FOLDER
    return list(_recorded_targets(frames if frames.is_dir() else source))


def _recorded_targets(source: Path) -> Iterator[Target]:
    for sequence in open_sequences([source]):
        for index in range(1, len(sequence)):
            truth = _synthetic_truth(sequence.paths[index]) if isinstance(sequence, PictureSequence) else None
            yield Target(sequence=sequence, index=index, truth=truth)


def _synthetic_truth(frame: Path) -> FlowTruth | None:
    parts = frame.absolute().parts
    if SEQUENCE_FOLDER not in parts:
        return None
    at = len(parts) - 1 - parts[::-1].index(SEQUENCE_FOLDER)
    folder = Path(*parts[:at], TRUTH_FOLDER, *parts[at + 1 : -1])
    key = frame.stem.removesuffix(_FRAME_SUFFIX)
    flow = folder / f"{key}_flow_to_previous.png"
    return FlowTruth(flow=flow, occluded=folder / f"{key}_occluded_in_previous.png") if flow.is_file() else None


def _kitti_targets(root: Path) -> Iterator[Target]:
    folder = next((root / name for name in _KITTI_FRAMES if (root / name).is_dir()), root / _KITTI_FRAMES[0])
    for flow in sorted((root / KITTI_TRUTH).glob("*.png")):
        match = _KITTI_NAME.fullmatch(flow.stem)
        if match is None:
            raise FlowFileError(str(flow), "names no frame, expected a name as 000000_10.png. Rename or remove it")
        first = int(match["frame"])
        paths = [folder / f"{match['scene']}{number:02d}.png" for number in range(first, 100)]
        unoccluded = root / _KITTI_UNOCCLUDED / flow.name
        truth = FlowTruth(flow=flow, unoccluded_flow=unoccluded if unoccluded.is_file() else None)
        yield _first_of(paths, truth)


def _pair_target(flow: Path) -> Target:
    for truth_ending, *frame_endings in _PAIRS:
        if flow.name.endswith(truth_ending):
            stem = flow.name.removesuffix(truth_ending)
            return _first_of([flow.with_name(stem + ending) for ending in frame_endings], FlowTruth(flow=flow))
    endings = " or ".join(truth_ending for truth_ending, *_ in _PAIRS)
    raise FlowFileError(str(flow), f"names no pair of frames, expected a name that ends in {endings}. Rename it")


def _first_of(paths: list[Path], truth: FlowTruth) -> Target:
    """The first of these frames, of which the first two must be there; those after a gap are left out."""
    num_present = next((number for number, path in enumerate(paths) if not path.is_file()), len(paths))
    if num_present < 2:
        reason = f"is the flow between two frames, of which {paths[num_present]} is not there. Add it, or remove this"
        raise FlowFileError(str(truth.flow), reason)
    return Target(sequence=PictureSequence(paths[:num_present]), index=0, towards=1, truth=truth)


def _read_mask(path: Path) -> Tensor:
    """Where an 8-bit grey PNG is not 0: bool [1,1,H,W]. Raises: FlowFileError."""
    mask = decode_png(read_file(path, "a mask of occlusion"), str(path), FlowFileError)
    if mask is None or mask.dtype != np.uint8 or mask.ndim != 2:
        found = "no image" if mask is None else f"{mask.dtype} of shape {list(mask.shape)}"
        raise FlowFileError(str(path), f"found {found}, expected a mask of occlusion, 8 bits in 1 channel. {AGAIN}")
    return torch.from_numpy(mask > 0)[None, None]
