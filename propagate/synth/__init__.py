"""A synthetic driving data set with exact truth: street scenes are built, ray cast and written as Cityscapes files."""
