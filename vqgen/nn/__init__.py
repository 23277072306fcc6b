"""Layers: the quantizer, masked convolution, causal attention and residual blocks."""
