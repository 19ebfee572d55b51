"""Networks that see video: schemes that spend less on a frame, or see more in it, than a network on each frame does."""
