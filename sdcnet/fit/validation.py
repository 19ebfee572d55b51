"""How well a predictor's displacement explains frames that it was not trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.training.runtime import Runtime
from sdcnet.fit.samples import Windows, one_batch
from sdcnet.geometry import warp_frames
from sdcnet.motion.pair_flow import PairFlow
from sdcnet.networks.predictor import VideoPredictor

NUM_WINDOWS = 32  # spread evenly over all there are


@dataclass(frozen=True, kw_only=True)
class PhotometricScores:
    """Mean absolute differences of warped frame and target, in levels of 255, by the network's displacement and by the
    newest of its input flows alone: what the network has to beat."""

    error: float
    error_of_input_flow: float
    num_windows: int

    def __str__(self) -> str:
        return f"photometric error {self.error:.3f}, of its input flow alone {self.error_of_input_flow:.3f} (of 255)"


def validate(network: VideoPredictor, windows: Windows, flows: PairFlow, runtime: Runtime) -> PhotometricScores:
    """Score a prepared network on whole frames of up to NUM_WINDOWS windows. Raises: MotionError, FrameError."""
    numbers = torch.linspace(0, len(windows) - 1, min(len(windows), NUM_WINDOWS)).long().tolist()
    errors = torch.stack([_window_errors(network, windows, number, flows, runtime) for number in numbers]).mean(0)
    return PhotometricScores(error=errors[0].item(), error_of_input_flow=errors[1].item(), num_windows=len(numbers))


def _window_errors(network: VideoPredictor, windows: Windows, number: int, flows: PairFlow, runtime: Runtime) -> Tensor:
    """Mean absolute differences [2] float64: of the network, and of its newest input flow."""
    sequence, start = windows.place(number)
    frames = windows.sequences[sequence].frames(start, start + windows.length)
    windows.sequences[sequence].close()  # the next window is far away
    batch = one_batch(frames.contiguous(), network.num_frames, flows)
    assert batch.flows is not None
    seen = batch.frames[:, : network.num_frames].flip(2)
    displacement = runtime.run(network.displacement, seen, batch.flows, gives="flow")
    source, target = frames[None, -2].to(runtime.device).float(), frames[None, -1].to(runtime.device).float()
    candidates = (displacement, batch.flows[:, -1].to(runtime.device))
    return torch.stack([(warp_frames(source, flow) - target).abs().double().mean() for flow in candidates])
