"""The command line `propagate`."""
