"""How good a motion is: by the frame that it makes of another, and against the true flow."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdcnet.geometry import length

LEVELS = 255
PSNR_LIMIT = 60.0  # dB; more is beyond what 8 bits can tell, and a still frame would make every mean infinite
_LEAST_ERROR = LEVELS**2 / 10 ** (PSNR_LIMIT / 10)
SMALLEST_SIDE = 11  # pixels: the window of SSIM
OUTLIER_PIXELS, OUTLIER_SHARE = 3.0, 0.05  # of KITTI: an error above both is an outlier


@dataclass(frozen=True)
class ImageScores:
    """Of some pixels of a frame: PSNR in dB, at most PSNR_LIMIT; SSIM, at most 1; the mean absolute error in levels.
    NaN where there are no pixels."""

    psnr: float
    ssim: float
    l1: float


class ImageErrors:
    """What tells a predicted frame from the true one, pixel by pixel.

    predicted [1,3,H,W] float32 and frame [1,3,H,W] uint8, RGB, 0…255; each side has at least SMALLEST_SIDE pixels.

    Reference: Wang et al., TIP 2004 (SSIM), on each colour plane, with its Gaussian window; scikit-image's.
    """

    def __init__(self, predicted: Tensor, frame: Tensor) -> None:
        from skimage.metrics import structural_similarity  # with SciPy it is large

        images = [image[0].permute(1, 2, 0).numpy().astype(np.float32) for image in (predicted, frame)]
        difference = images[0] - images[1]
        self._absolute = np.abs(difference).mean(axis=2)
        self._squared = np.square(difference).mean(axis=2)
        _, similarity = structural_similarity(
            *images,
            channel_axis=2,
            data_range=LEVELS,
            gaussian_weights=True,
            use_sample_covariance=False,
            full=True,
        )
        self._similarity = similarity.mean(axis=2)

    def scores(self, where: Tensor) -> ImageScores:
        """Of the pixels where bool [1,1,H,W]; SSIM leaves out the border, where its window is not whole."""
        mask = where[0, 0].numpy()
        border = SMALLEST_SIDE // 2
        core = (slice(border, -border), slice(border, -border))
        return ImageScores(
            psnr=_psnr(_mean(self._squared, mask)),
            ssim=_mean(self._similarity[core], mask[core]),
            l1=_mean(self._absolute, mask),
        )


@dataclass(frozen=True)
class FlowErrors:
    """End-point errors of any number of pixels: how many, their sum in pixels, and how many outliers, as KITTI counts.

    Reference: Menze and Geiger, CVPR 2015: an outlier errs by more than 3 pixels and 5 % of the true length.
    """

    num_pixels: int = 0
    total: float = 0.0
    num_outliers: int = 0

    @classmethod
    def of(cls, flow: Tensor, truth: Tensor, where: Tensor) -> "FlowErrors":
        """flow, truth [1,2,H,W] float32 pixels; where bool [1,1,H,W]."""
        errors, lengths = length(flow - truth)[where], length(truth)[where]
        outliers = (errors > OUTLIER_PIXELS) & (errors > OUTLIER_SHARE * lengths)
        return cls(errors.numel(), errors.sum(dtype=torch.float64).item(), int(outliers.sum()))

    def __add__(self, other: "FlowErrors") -> "FlowErrors":
        return FlowErrors(
            self.num_pixels + other.num_pixels, self.total + other.total, self.num_outliers + other.num_outliers
        )

    @property
    def epe(self) -> float:
        """The mean end-point error in pixels; NaN of no pixels."""
        return self.total / self.num_pixels if self.num_pixels else math.nan

    @property
    def outliers(self) -> float:
        """The share of outliers in [0,1]; NaN of no pixels."""
        return self.num_outliers / self.num_pixels if self.num_pixels else math.nan


def _psnr(squared_error: float) -> float:
    if math.isnan(squared_error):
        return math.nan
    return 10 * math.log10(LEVELS**2 / max(squared_error, _LEAST_ERROR))


def _mean(values: np.ndarray, mask: np.ndarray) -> float:
    return float(values[mask].mean(dtype=np.float64)) if mask.any() else math.nan
