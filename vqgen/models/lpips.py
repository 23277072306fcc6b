"""LPIPS: the perceptual distance of two images in the features of AlexNet, and the weights that it needs.

Legend: `b` images, `c` channels, `H W` image, `h w` grid of a layer.
Source: Zhang et al. 2018, arXiv 1801.03924, with AlexNet.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vqgen.errors import CheckpointError
from vqgen.models.published import read_published_weights

LPIPS_FILE = "alexnet-owt-7be5be79.pth"
"""torchvision's name of the AlexNet weights that LPIPS needs."""


def find_lpips_weights() -> Path | None:
    """Returns the AlexNet weights in torch's cache, if torchvision has stored them there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_FILE
    return path if path.is_file() else None


def lpips_network(weights: Path) -> nn.Module:
    """Builds torchmetrics' LPIPS on AlexNet, in evaluation mode and without gradients of its weights.

    Args:
        weights: torchvision's AlexNet weights. LPIPS's own linear layers come with torchmetrics.

    Returns:
        A module of two batches of RGB images in [-1, 1] that returns a distance for each pair of images.

    Raises:
        CheckpointError: The file is missing, or holds something else.
    """
    from torchmetrics.functional.image.lpips import _LPIPS
    from torchvision.models import alexnet

    published = read_published_weights(weights, "AlexNet", "features.0.weight")
    backbone = alexnet(weights=None)
    try:
        backbone.load_state_dict(published)
    except RuntimeError as error:
        raise CheckpointError(
            f"{weights}: should hold the weights of torchvision's AlexNet, found others: {str(error).splitlines()[-1]}"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # pnet_rand: a backbone of random weights. The published ones would be downloaded, even if the file is here.
        network: Any = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    # torchmetrics cuts AlexNet into slices, one behind each ReLU that LPIPS compares. Their layers are in AlexNet's
    # order, so they are exchanged one by one for the layers with weights; the last pooling is in no slice.
    layers = iter(backbone.features)
    for index in range(1, network.net.N_slices + 1):
        part = getattr(network.net, f"slice{index}")
        for name in list(part._modules):
            part._modules[name] = next(layers)
    return network.requires_grad_(False).eval()
