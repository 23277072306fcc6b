"""Programs that measure vqgen. Each prints its results. vqgen itself needs none of them."""
