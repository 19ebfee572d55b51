"""The command line `segtrain`."""
