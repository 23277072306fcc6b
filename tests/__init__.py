"""The tests: `unit` mirrors the rooms of vqgen, `integration` runs the installed command."""
