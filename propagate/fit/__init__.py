"""Training of what corrects carried labels: clips whose labels are known to a file of weights."""
