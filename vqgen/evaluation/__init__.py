"""Judging: small functions of features, images and codes; `judge` puts them together. Import from the modules."""
