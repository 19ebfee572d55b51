"""Units of work to results, on Ray or in this process. Knows nothing of what a unit does."""
