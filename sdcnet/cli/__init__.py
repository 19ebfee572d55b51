"""The command line `sdcnet`."""
