"""What networks are trained on: which samples and where in them, epoch by epoch."""
