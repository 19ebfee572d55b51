"""What a network finds in pictures of any kind, written for people and for benchmarks."""
