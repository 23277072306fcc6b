"""Files on disk: atomic writes, JSON documents, tensors and the lock of a folder."""
