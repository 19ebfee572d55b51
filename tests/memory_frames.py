"""Clips without files, for tests of what reads frames."""

from dataclasses import replace

from propagate.data.clip import Clip
from propagate.data.memory_frame import MemoryFrame


def in_memory(clip: Clip) -> Clip:
    """The clip with the pixels of its frames, without their files."""
    return replace(clip, frames={o: MemoryFrame(frame.key, frame.pixels()) for o, frame in clip.frames.items()})
