"""The cost of a run before it begins: FLOPs, memory, bits per pixel and time."""
