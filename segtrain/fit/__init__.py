"""Training of a segmentation network: settings, recipes, the loop, and what it leaves behind."""
