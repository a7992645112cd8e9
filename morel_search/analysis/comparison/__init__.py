"""Several runs compared: their fronts on the same kind of accuracies, hypervolume, cost and settings."""
