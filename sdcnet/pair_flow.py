"""Flow between two frames, in batches: what a video predictor is given, and what FlowNet2 is used for alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import cv2
import torch
from torch import Tensor

from sdcnet.checkpoints import load_flownet2
from sdcnet.classical import dis_flow, to_flow, to_grey
from sdcnet.errors import MotionError
from sdcnet.motion import INPUT_FLOWS
from sdcnet.runtime import Runtime
from sdcnet.weights import digest


class PairFlow(Protocol):
    """Two batches of frames to the flows between them; `fingerprint` is what decides the numbers that come out."""

    fingerprint: Mapping[str, object]

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        """targets, sources [B,3,H,W] uint8 RGB -> flow_target_to_source [B,2,H,W] float32 pixels."""
        ...


class DisPairs:
    """Dense inverse search, on the CPU, on one thread: see `sdcnet.classical.dis_flow`."""

    fingerprint: Mapping[str, object] = {"input_flow": "dis", "opencv": cv2.__version__}

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        pairs = zip(targets.cpu().split(1), sources.cpu().split(1), strict=True)
        return torch.cat([to_flow(dis_flow(to_grey(target), to_grey(source))) for target, source in pairs])


class FlowNet2Pairs:
    """FlowNet2, wherever the runtime computes. The published weights want BGR, as the video predictor gave them."""

    def __init__(self, weights: Path, runtime: Runtime) -> None:
        """Raises CheckpointError where the weights cannot be used."""
        self._network, self._runtime = runtime.compiled(runtime.prepare(load_flownet2(weights))), runtime
        self.fingerprint: Mapping[str, object] = {"input_flow": "flownet2", "flownet2_weights": digest(weights)}

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        return self._runtime.run(self._network, targets.flip(1), sources.flip(1))


def open_pair_flow(name: str, flownet2_weights: Path | None, runtime: Runtime) -> PairFlow:
    """The flow of that name, one of INPUT_FLOWS.

    Raises: MotionError, CheckpointError, where its weights are not given or cannot be used.
    """
    if name == "dis":
        return DisPairs()
    if name != "flownet2":
        raise ValueError(f"a flow between two frames is one of {', '.join(INPUT_FLOWS)}, found '{name}'")
    if flownet2_weights is None:
        raise MotionError(
            "FlowNet2 needs weights: give the published FlowNet2_checkpoint.pth.tar, or a file converted from it, with "
            "--flownet2-weights; without weights there is DIS (--motion dis, or --input-flow dis for a video predictor)"
        )
    return FlowNet2Pairs(flownet2_weights, runtime)
