"""Training: the one loop, what a stage gives it, the optimizer, the saved state and the metrics."""
