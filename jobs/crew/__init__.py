"""One function on several processes that exchange gradients: this process alone, or a crew on Ray Train."""
