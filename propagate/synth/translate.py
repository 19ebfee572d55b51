"""A picture that moves sideways: frames are windows of one that is wider, each further to the right by as many pixels.

What a network takes from an earlier frame is then wrong by exactly that much.

Reference: Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, 2016, the translated PASCAL VOC.
"""

from collections.abc import Iterator

import numpy as np

from propagate.synth.render import Rendered


def width_of_picture(width: int, length: int, speed: int) -> int:
    """Of the picture, in pixels, for so many frames of a width, at so many pixels a frame."""
    return width + speed * (length - 1)


def translated(image: np.ndarray, labels: np.ndarray, length: int, speed: int) -> Iterator[Rendered]:
    """Frames, and their exact truth, of a picture [H,W,3] and its label ids [H,W]."""
    width = labels.shape[1] - speed * (length - 1)
    column = np.arange(width)
    for frame in range(length):
        window = slice(frame * speed, frame * speed + width)
        others = [offset for offset in (-1, 1) if 0 <= frame + offset < length]
        flow, hidden = {}, {}
        for offset in others:
            there = column - offset * speed
            flow[offset] = np.zeros((2, *labels[:, window].shape), np.float32)
            flow[offset][0] = -offset * speed
            hidden[offset] = np.broadcast_to((there < 0) | (there >= width), labels[:, window].shape)
        yield Rendered(image[:, window], labels[:, window], flow, hidden)
