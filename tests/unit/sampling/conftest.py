import copy

import pytest
import torch
from torch import nn

from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling import Guide


@pytest.fixture
def make_prior():
    """Builds a small prior in float64. Its distribution is far from uniform."""

    def build(**changes):
        torch.manual_seed(0)
        settings = {
            "level": "bottom", "height": 3, "width": 4, "codebook_size": 5, "num_classes": 3, "channels": 8,
            "layers": 2, "attention_every": 2, "attention_heads": 2, "conditioning_layers": 1,
        }  # fmt: skip
        prior = PixelCNN(PixelCNNConfig(**(settings | changes))).double()
        for parameter in prior.parameters():
            if parameter.abs().max() == 0:  # a layer that starts at zero would hide faults behind it
                nn.init.normal_(parameter, std=0.5)
        nn.init.normal_(prior.output[-1].weight, std=0.5)
        return prior

    return build


@pytest.fixture
def conditioned():
    """Draws coarser codes and encodes them for a prior. Returns None for a prior without coarser codes."""

    def condition(prior, b, seed=0):
        config = prior.config
        if not config.is_conditioned:
            return None
        torch.manual_seed(seed)
        device = prior.embedding.weight.device
        with torch.no_grad():
            codes = torch.randint(config.codebook_size, (b, config.coarser_height, config.coarser_width), device=device)
            return prior.encode_condition(codes)

    return condition


@pytest.fixture
def make_guide(conditioned):
    """Makes a guide of a prior: other weights, and their encoding of the coarser codes that `conditioned` draws."""

    def build(prior, b):
        torch.manual_seed(5)
        guide = copy.deepcopy(prior)
        with torch.no_grad():
            for parameter in guide.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return Guide(guide, conditioned(guide, b))

    return build


@pytest.fixture
def bytes_of():
    """Counts the memory of all tensors that an object of `vqgen.sampling` holds, each storage once."""

    def tensors_of(thing):
        if isinstance(thing, torch.Tensor):
            yield thing
        elif isinstance(thing, dict | list | tuple):
            for item in thing.values() if isinstance(thing, dict) else thing:
                yield from tensors_of(item)
        elif type(thing).__module__.startswith("vqgen.sampling"):
            yield from tensors_of(vars(thing))

    def count(thing):
        return sum({tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors_of(thing)}.values())

    return count
