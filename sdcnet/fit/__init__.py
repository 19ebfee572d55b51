"""Self-supervised training of a video predictor, on frames alone."""
