"""A clip to samples: the walk away from its annotated frame, labels carried along it, how sure each pixel is."""
