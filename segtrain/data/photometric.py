"""Changes of an image's colours and sharpness, where nothing moves: jitter of the colours, Gaussian blur.

Reference: the training recipe of Zhu et al., CVPR 2019, section 4; its jitter is that of torchvision's ColorJitter, of
8-bit HSV for the hue.
"""

import cv2
import numpy as np

LUMA = np.array((0.299, 0.587, 0.114))  # of red, green, blue: ITU-R BT.601
LEVELS = np.arange(256)
BLUR_PROBABILITY = 0.5
BLUR_SIGMA = (0.15, 1.3)  # pixels


def jitter_colours(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    """[H,W,3] uint8 RGB -> the same, its brightness, contrast, saturation and hue changed one by one in random order.

    The first three change by factors within 1 ± strength, the hue by turns within ± strength of a circle. With a
    strength of 0 the image stays as it is, bit for bit.
    """
    changes = (_change_brightness, _change_contrast, _change_saturation, _turn_hue)
    amounts = generator.uniform(-strength, strength, len(changes))
    for number in generator.permutation(len(changes)).tolist():
        image = changes[number](image, float(amounts[number]))
    return image


def blur_at_random(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """[H,W,3] uint8 -> the same, every other one blurred; beyond its border the image goes on mirrored."""
    chance, sigma = generator.random(), generator.uniform(*BLUR_SIGMA)
    return cv2.GaussianBlur(image, (0, 0), sigma) if chance < BLUR_PROBABILITY else image


def _change_brightness(image: np.ndarray, amount: float) -> np.ndarray:
    return cv2.LUT(image, _levels((1 + amount) * LEVELS))


def _change_contrast(image: np.ndarray, amount: float) -> np.ndarray:
    """Away from the mean grey, or towards it."""
    grey = float(np.dot(cv2.mean(image)[:3], LUMA))
    return cv2.LUT(image, _levels(LEVELS + amount * (LEVELS - grey)))


def _change_saturation(image: np.ndarray, amount: float) -> np.ndarray:
    """Away from each pixel's own grey, or towards it."""
    return cv2.transform(image, (1 + amount) * np.eye(3) - amount * LUMA)


def _turn_hue(image: np.ndarray, amount: float) -> np.ndarray:
    turn = round(amount * 256)
    if turn == 0:  # the way to HSV and back rounds
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(turn % 256)  # wraps around, as hues do
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _levels(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
