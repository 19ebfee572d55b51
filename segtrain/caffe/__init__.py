"""Published weights of Caffe: how its files are read, and how its networks become ours."""
