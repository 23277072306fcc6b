"""Training: the loop of all stages, their objectives, the optimizer, the saved state and the metrics."""
