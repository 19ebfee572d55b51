"""Units of work to results: on Ray actors, or in this process alone."""
