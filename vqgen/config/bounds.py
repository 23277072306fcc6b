"""The largest sizes of models: far above all that is of use, and far below all that would never end.

A configuration may be a stranger's, or have a digit too many. Without bounds a model of a billion layers would be built
until the memory ends, before anything could be compared with its weights.
"""

MOST_CHANNELS = 2**16
"""Channels, units and dimensions of a layer."""

MOST_LAYERS = 2**10
"""Layers, blocks and heads of a network."""

MOST_CODES = 2**16
"""Entries of a codebook: a code is stored in 16 bits."""

MOST_DEPTH = 2**3
"""Quantizations of a latent. Compressed files count at most 31 grids, and three levels of this depth have 24."""

MOST_LABELS = 2**20
"""Labels of a label map."""

MOST_JOINED = 2**63
"""Combinations of the codes of a place, in all grids that condition a prior: one int64 stands for them."""

LARGEST_SIDE = 2**14
"""Pixels of the side of the images of a training, and positions of the side of a grid."""

WIDEST_KERNEL = 2**8
"""Codes that a masked convolution reads along a side."""

MOST_ATTENDED = 2**15
"""Positions of a grid with causal attention, whose mask has a bit for each pair of positions."""

MOST_STAGES = 12
"""Stages of a classifier, each with twice the channels of the one before."""

MOST_STEPS = 10**12
"""Steps of a training, where a setting counts them."""
