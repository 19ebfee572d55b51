"""What every package stands on: units of work on Ray or in this process, trainings, command lines, whole files.

Knows nothing of frames, labels or networks in particular.
"""
