"""Models: each is built from one frozen configuration."""
