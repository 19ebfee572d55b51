"""Frames to flow: what a motion estimator is, and those there are."""
