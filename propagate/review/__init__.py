"""Look at the samples of a store, and decide about them."""
