"""Ray itself: started on this machine or joined, told of signals, and gone when its driver is."""
