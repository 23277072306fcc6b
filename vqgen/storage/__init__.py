"""Files on disk: writes that are all or nothing, JSON, tensors, and the lock of a folder."""
