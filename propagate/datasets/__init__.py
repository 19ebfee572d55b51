"""Data sets: their layouts on disk, one file each."""
