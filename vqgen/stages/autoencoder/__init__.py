"""The stage that trains a baseline, and its parts."""
