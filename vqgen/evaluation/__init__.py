"""Metrics of features, images and codes, each a small function; `judge` combines them. Import from the modules."""
