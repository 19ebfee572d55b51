"""Carried labels and what a network says of the same frames, decided together: a store of refined samples."""
