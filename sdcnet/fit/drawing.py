"""What a training shows of itself: a target, what was predicted, and the flow that did it."""

import cv2
import numpy as np
import torch
from torch import Tensor

from sdcnet.geometry import length
from sdcnet.networks.predictor import Prediction

BRIGHTEST = 0.99  # quantile of the lengths of a flow that is drawn in full colour


def prediction_picture(target: Tensor, prediction: Prediction) -> Tensor:
    """The first target of a batch [B,3,H,W] BGR, what was predicted, and the flow, below one another: uint8 RGB."""
    with torch.no_grad():
        frames = [frame[0].flip(0).float().clamp(0, 255).byte().cpu() for frame in (target, prediction.frame)]
        flow = flow_picture(prediction.flow_target_to_source[:1].cpu())
    return torch.cat((*frames, flow), dim=1)


def flow_picture(flow: Tensor) -> Tensor:
    """A flow [1,2,H,W] as uint8 RGB [3,H,W]: its direction as the hue, its length as the saturation."""
    lengths = length(flow)[0, 0]
    angle = torch.atan2(flow[0, 1], flow[0, 0]) / torch.pi * 90 % 180
    strength = (lengths / lengths.quantile(BRIGHTEST).clamp(min=1)).clamp(max=1) * 255
    pixels = torch.stack((angle, strength, torch.full_like(angle, 255)), dim=-1).byte().numpy()
    return torch.from_numpy(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_HSV2RGB)).permute(2, 0, 1)
