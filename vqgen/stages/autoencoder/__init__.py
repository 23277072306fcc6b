"""The stage of the baselines, and what belongs to it."""
