"""The training stages, each a function of a `RunContext`; `run` chains them."""
