"""A synthetic driving data set with exact truth: street scenes are built, ray cast and written as Cityscapes files."""

from propagate.synth.write import ANNOTATED_FRAME, write_dataset

__all__ = ["ANNOTATED_FRAME", "write_dataset"]
