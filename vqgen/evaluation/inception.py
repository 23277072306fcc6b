"""The feature space of published metrics: Inception v3 with the weights of the original Frechet distance.

Legend: `n` images, `c` channels, `H W` image.
"""

from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from vqgen.errors import ConfigError
from vqgen.evaluation.features import Features, features_of
from vqgen.models.published import read_published_weights
from vqgen.runtime.compute import Compute
from vqgen.storage.files import sha256_of_file

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""torch-fidelity's name of the weights, which it converted from the original ones."""


class InceptionSpace:
    """The space of the 2,048 pooled features of Inception v3.

    Images are scaled to 299 x 299 as in the original; grey images become RGB.

    Args:
        weights: torch-fidelity's file of the weights.
        compute: The device. The dtype is always float32.

    Raises:
        ConfigError: torch-fidelity is not installed, or there is no such file.
        CheckpointError: The file holds something else.

    Source: Heusel et al. 2017, arXiv 1706.08500; the network is torch-fidelity's, whose metrics equal the original's.
    """

    def __init__(self, weights: Path, compute: Compute) -> None:
        if not weights.is_file():
            raise ConfigError(
                f"--inception-weights {weights}: there is no such file; torch-fidelity publishes it as {WEIGHTS_FILE}"
            )
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
                FeatureExtractorInceptionV3,
            )
        except ImportError as error:
            raise ConfigError(
                "--inception-weights: needs torch-fidelity, which is not installed; `pip install 'vqgen[evaluate]'`"
            ) from error

        # torch-fidelity unpickles any file that it is given; a file with code in it has to be refused before.
        read_published_weights(weights, "Inception", "Mixed_7c.branch_pool.conv.weight")
        # Without the bias of the last layer, because the published inception score leaves it out.
        network = FeatureExtractorInceptionV3("vqgen", ["2048", "logits_unbiased"], str(weights))
        self.network = network.to(compute.device)
        self.device = compute.device
        self.dtype = "float32"
        self.name = f"inception {sha256_of_file(weights)[:12]}"

    def __call__(self, images: UInt8[Tensor, "n c H W"]) -> Features:
        """Computes the features of images, on the CPU."""

        def evaluate(batch: Tensor) -> tuple[Tensor, Tensor]:
            # The network takes uint8 and scales pixels itself, exactly as the original did.
            return self.network(batch.expand(-1, 3, -1, -1).to(self.device))

        return features_of(images, evaluate, self.name)
