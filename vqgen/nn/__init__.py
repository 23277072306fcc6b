"""Layers: quantizer, masked convolution, causal attention, residual blocks. They take plain numbers."""
