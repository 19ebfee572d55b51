"""What a training says of itself: scalars and pictures for TensorBoard, and one JSON object a line."""

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from sdcnet.geometry import length
from sdcnet.predictor import Prediction
from sdcnet.run_folder import LOG

BRIGHTEST = 0.99  # quantile of the lengths of a flow that is drawn in full colour


class RunLog:
    """The records of a run folder, from some step on: what TensorBoard was told of later ones no longer counts."""

    def __init__(self, out: Path, step: int) -> None:
        self._lines = (out / LOG).open("a", encoding="utf-8")
        self._events = SummaryWriter(str(out), purge_step=step)

    def write(self, step: int, **values: float | str | Mapping[str, str]) -> None:
        """One line; of it, TensorBoard gets the numbers."""
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, float):
                self._events.add_scalar(name, value, step)

    def draw(self, step: int, target: Tensor, prediction: Prediction) -> None:
        """The first target of a batch [B,3,H,W] BGR, what was predicted, and the flow, below one another."""
        with torch.no_grad():
            frames = [frame[0].flip(0).float().clamp(0, 255).byte().cpu() for frame in (target, prediction.frame)]
            flow = flow_picture(prediction.flow_target_to_source[:1].cpu())
        self._events.add_image("target, prediction, flow", torch.cat((*frames, flow), dim=1), step)

    def close(self) -> None:
        self._events.close()
        self._lines.close()


def flow_picture(flow: Tensor) -> Tensor:
    """A flow [1,2,H,W] as uint8 RGB [3,H,W]: its direction as the hue, its length as the saturation."""
    lengths = length(flow)[0, 0]
    angle = torch.atan2(flow[0, 1], flow[0, 0]) / torch.pi * 90 % 180
    strength = (lengths / lengths.quantile(BRIGHTEST).clamp(min=1)).clamp(max=1) * 255
    pixels = torch.stack((angle, strength, torch.full_like(angle, 255)), dim=-1).byte().numpy()
    return torch.from_numpy(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_HSV2RGB)).permute(2, 0, 1)
