"""Annotations as people's tools write them: one file for each format, which reads and writes it."""
