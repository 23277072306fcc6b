"""Programs that measure. Each prints its figures; none is needed to use vqgen."""
