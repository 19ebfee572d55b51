"""Clips to shards: the labels of annotated video frames, carried to their neighbours."""
