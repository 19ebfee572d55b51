"""Clips to shards: the labels of annotated video frames, carried to their neighbours."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from propagate.memory import propagate as propagate

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`propagate.propagate`, which needs PyTorch, when it is asked for."""
    if name != "propagate":
        raise AttributeError(f"module 'propagate' has no attribute '{name}'")
    from propagate.memory import propagate

    return propagate
