"""Frames to motion: how every pixel of a video frame moves to the next.

Stands on torch and numpy; knows nothing of labels, shards or clusters.
"""
