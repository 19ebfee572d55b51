"""Changes of images' colours and sharpness, where nothing moves: jitter of the colours, Gaussian blur.

What changes is drawn first, apart from any image, so that several frames can change alike.

Reference: the training recipe of Zhu et al., CVPR 2019, section 4; its jitter is that of torchvision's ColorJitter, of
8-bit HSV for the hue.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

LUMA = np.array((0.299, 0.587, 0.114))  # of red, green, blue: ITU-R BT.601
LEVELS = np.arange(256)
BLUR_PROBABILITY = 0.5
BLUR_SIGMA = (0.15, 1.3)  # pixels

# Images [H,W,3] uint8 RGB and an amount, within -1…1 -> the images, all changed alike.
Change = Callable[[Sequence[np.ndarray], float], list[np.ndarray]]


@dataclass(frozen=True)
class Colours:
    """How colours change: one change after the other, each with its amount."""

    changes: tuple[tuple[Change, float], ...]

    def apply(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Images [H,W,3] uint8 RGB -> the same, all changed alike: pixels that were equal stay equal.

        So contrast grows or shrinks around the mean grey of the first image, whichever image it is that changes: losses
        that follow pixels from frame to frame need their brightness to stay. With amounts of 0 all stay bit for bit.
        """
        changed = list(images)
        for change, amount in self.changes:
            changed = change(changed, amount)
        return changed


def draw_colours(strength: float, generator: np.random.Generator) -> Colours:
    """Changes of brightness, contrast, saturation and hue, in random order.

    The first three change by factors within 1 ± strength, the hue by turns within ± strength of a circle.
    """
    changes = (_change_brightness, _change_contrast, _change_saturation, _turn_hue)
    amounts = generator.uniform(-strength, strength, len(changes))
    order = generator.permutation(len(changes)).tolist()
    return Colours(tuple((changes[number], float(amounts[number])) for number in order))


def draw_blur(generator: np.random.Generator) -> float | None:
    """The standard deviation of a blur, in pixels; every other time there is none."""
    chance, sigma = generator.random(), generator.uniform(*BLUR_SIGMA)
    return sigma if chance < BLUR_PROBABILITY else None


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """[H,W,3] uint8 -> the same, blurred; beyond its border the image goes on mirrored."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _change_brightness(images: Sequence[np.ndarray], amount: float) -> list[np.ndarray]:
    levels = _levels((1 + amount) * LEVELS)
    return [cv2.LUT(image, levels) for image in images]


def _change_contrast(images: Sequence[np.ndarray], amount: float) -> list[np.ndarray]:
    """Away from the mean grey of the first image, or towards it."""
    grey = float(np.dot(cv2.mean(images[0])[:3], LUMA))
    levels = _levels(LEVELS + amount * (LEVELS - grey))
    return [cv2.LUT(image, levels) for image in images]


def _change_saturation(images: Sequence[np.ndarray], amount: float) -> list[np.ndarray]:
    """Away from each pixel's own grey, or towards it."""
    mixed = (1 + amount) * np.eye(3) - amount * LUMA
    return [cv2.transform(image, mixed) for image in images]


def _turn_hue(images: Sequence[np.ndarray], amount: float) -> list[np.ndarray]:
    turn = round(amount * 256)
    if turn == 0:  # the way to HSV and back rounds
        return list(images)
    turned = []
    for image in images:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(turn % 256)  # wraps around, as hues do
        turned.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))
    return turned


def _levels(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
