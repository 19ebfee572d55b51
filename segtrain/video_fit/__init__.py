"""Trainings of schemes for video, on a network that stays as it is."""
