"""Models, each built from one frozen configuration."""
