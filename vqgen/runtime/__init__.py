"""The run time: device and dtype, memory, processes, signals, progress and seeds."""
