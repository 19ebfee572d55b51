"""What a camera makes of the light: exposure that drifts, vignetting, blur, noise, eight bits."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Sensor:
    """One recording's camera."""

    gains: np.ndarray  # [T,3] of each frame and colour
    vignette: float  # share of the light that the corners lose
    blur: float  # standard deviation, thousandths of the image's width
    read_noise: float  # standard deviation, of 1 for white
    shot_noise: float  # its growth with the root of the light

    def expose(self, light: np.ndarray, frame: int, rng: np.random.Generator) -> np.ndarray:
        """light [H,W,3] float32 -> [H,W,3] uint8."""
        height, width = light.shape[:2]
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        falloff = (1 - self.vignette / 2 * (x**2 + y**2)).astype(np.float32)
        exposed = light * (falloff[..., None] * self.gains[frame].astype(np.float32))
        exposed = cv2.GaussianBlur(exposed, (0, 0), self.blur * width / 1000)
        deviation = np.float32(self.read_noise) + np.float32(self.shot_noise) * np.sqrt(np.clip(exposed, 0, 1))
        exposed += deviation * rng.standard_normal(light.shape, np.float32)
        return np.round(np.clip(exposed, 0, 1) * 255).astype(np.uint8)


def draw_sensor(rng: np.random.Generator, num_frames: int) -> Sensor:
    """A camera at random, whose exposure swings slowly by up to a fifth and flickers by about one per cent."""
    frames = np.arange(num_frames)
    swing = rng.uniform(0.05, 0.2) * np.sin(2 * np.pi * (frames / rng.uniform(25, 70) + rng.uniform()))
    flicker = rng.normal(0, 0.01, num_frames)
    balance = rng.uniform(0.95, 1.05, 3) + rng.uniform(-0.02, 0.02, 3) * frames[:, None] / num_frames
    return Sensor(
        gains=rng.uniform(0.95, 1.2) * (1 + swing + flicker)[:, None] * balance,
        vignette=rng.uniform(0.05, 0.3),
        blur=rng.uniform(0.7, 1.3),
        read_noise=rng.uniform(0.003, 0.012),
        shot_noise=rng.uniform(0.003, 0.015),
    )
