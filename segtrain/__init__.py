"""Shards to scores: networks, losses, sampling and evaluation for semantic segmentation.

Stands on `propagate` for shards and class tables.
"""
