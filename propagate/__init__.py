"""Clips to shards: the labels of annotated video frames, carried to their neighbours."""

__version__ = "0.1.0"
