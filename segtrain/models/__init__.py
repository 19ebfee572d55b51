"""Segmentation networks: trunks, and DeepLabV3+ on them."""
