"""What trainings of any network share: where they compute, their steps, their folder, and files of weights."""
