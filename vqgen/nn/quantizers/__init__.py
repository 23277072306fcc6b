"""Vector quantizers: a base, and one file for each kind."""
