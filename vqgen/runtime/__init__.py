"""The place where vqgen runs: device and number format, memory, processes, signals, progress, seeds."""
