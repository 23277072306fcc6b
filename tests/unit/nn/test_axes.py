import torch

from vqgen.nn.axes import BATCH_FIRST, POSITIONS_FIRST, axes_on


def test_only_a_cpu_has_positions_first():
    assert axes_on(torch.device("cpu")) == POSITIONS_FIRST
    assert axes_on(torch.device("cuda:1")) == axes_on(torch.device("mps")) == BATCH_FIRST
