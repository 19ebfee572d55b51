"""A training as one HTML page: what its folder holds, drawn and written so that a browser needs nothing else."""
