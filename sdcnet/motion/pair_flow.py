"""Flow between two frames, in batches: what a video predictor is given, and what FlowNet2 is used for alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import cv2
import torch
from torch import Tensor

from jobs.training.runtime import Runtime
from jobs.training.transfers import Transfers
from sdcnet.errors import MotionError
from sdcnet.motion.classical import dis_flow, to_flow, to_grey
from sdcnet.motion.registry import INPUT_FLOWS
from sdcnet.networks.checkpoints import Checkpoint, flownet2_of, read_checkpoint


class PairFlow(Protocol):
    """Two batches of frames to the flows between them; `fingerprint` is what decides the numbers that come out."""

    fingerprint: Mapping[str, object]

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        """targets, sources [B,3,H,W] uint8 RGB -> flow_target_to_source [B,2,H,W] float32 pixels."""
        ...


class DisPairs:
    """Dense inverse search, on the CPU, on one thread: see `sdcnet.motion.classical.dis_flow`.

    transfers: to the device where frames are and flows should be; None, where that is the host.
    """

    fingerprint: Mapping[str, object] = {"input_flow": "dis", "opencv": cv2.__version__}

    def __init__(self, transfers: Transfers | None = None) -> None:
        self._transfers = transfers

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        if self._transfers is None:
            return self._on_host(targets, sources)
        return self._transfers.to_device(self._on_host(*map(self._transfers.to_host, (targets, sources))))

    def _on_host(self, targets: Tensor, sources: Tensor) -> Tensor:
        pairs = zip(targets.split(1), sources.split(1), strict=True)
        return torch.cat([to_flow(dis_flow(to_grey(target), to_grey(source))) for target, source in pairs])


class FlowNet2Pairs:
    """FlowNet2, wherever the runtime computes. The published weights want BGR, as the video predictor gave them."""

    def __init__(self, weights: Checkpoint, runtime: Runtime) -> None:
        """Raises: CheckpointError where the weights cannot be used."""
        self._network, self._runtime = runtime.compiled(runtime.prepare(flownet2_of(weights))), runtime
        self.fingerprint: Mapping[str, object] = {"input_flow": "flownet2", "flownet2_weights": weights.digest}

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        return self._runtime.run(self._network, targets.flip(1), sources.flip(1), gives="flow")


def open_pair_flow(
    name: str, flownet2_weights: Path | Checkpoint | None, runtime: Runtime, transfers: Transfers | None = None
) -> PairFlow:
    """The flow of that name, one of INPUT_FLOWS.

    flownet2_weights: a file, or what was read of one. transfers: see `DisPairs`.

    Raises: MotionError, CheckpointError, where its weights are not given or cannot be used, or it has none.
    """
    if name == "dis":
        if isinstance(flownet2_weights, Path):
            raise MotionError(f"--flownet2-weights {flownet2_weights}: the input flow is DIS's, which has none")
        return DisPairs(transfers)
    if name != "flownet2":
        raise ValueError(f"a flow between two frames is one of {', '.join(INPUT_FLOWS)}, found '{name}'")
    if flownet2_weights is None:
        raise MotionError(
            "FlowNet2 needs weights: give the published FlowNet2_checkpoint.pth.tar, or a file converted from it, with "
            "--flownet2-weights; without weights there is DIS (--motion dis, or --input-flow dis for a video predictor)"
        )
    if isinstance(flownet2_weights, Path):
        flownet2_weights = read_checkpoint(flownet2_weights)
    return FlowNet2Pairs(flownet2_weights, runtime)
