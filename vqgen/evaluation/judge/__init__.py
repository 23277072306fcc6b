"""The judge: one object that computes all metrics of a pipeline and its samples."""
