"""The judge: one object that answers every question about a pipeline and its samples."""
