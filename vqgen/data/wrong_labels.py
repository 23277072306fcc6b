"""Wrong labels for the label contrast: for each image a label that its codes might have had.

Legend: `b` images, `h w` grid, `k` codebook entries, `y` labels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vqgen.config import Recipe
from vqgen.data import CodeStore
from vqgen.errors import ConfigError

_UNIFORM_SHARE = 0.1
"""Share of the draws that ignores the codes."""


def check_label_contrast(recipe: Recipe, num_labels: int) -> None:
    """Refuses the label contrast of a prior for images with fewer than two labels.

    Raises:
        ConfigError: A prior has a label contrast, but there are fewer than two labels.
    """
    for index, prior in enumerate(recipe.priors):
        if prior.label_contrast and num_labels < 2:
            raise ConfigError(
                f"priors.{index}.label_contrast: should be 0 for images with fewer than two labels, "
                f"found {prior.label_contrast:g} and {num_labels} labels; sort the images into a folder for each label"
            )


class WrongLabels:
    """A distribution over the labels that are not an image's own; the better its codes fit a label, the likelier it is.

    The fit is the likelihood of the codes under naive Bayes: the frequency of each code in the training images of a
    label, at any position. A tenth of the draws is uniform and ignores the fit.

    Args:
        store: The codes of the training images.
        level: The level of the codes.
        num_labels: Labels of the label map, at least 2.
    """

    def __init__(self, store: CodeStore, level: str, num_labels: int) -> None:
        self._num_codes = store.info.codebook_size
        # Counts start at one: a code that a label never showed makes the label unlikely, not impossible.
        counts = torch.ones(num_labels, self._num_codes, dtype=torch.float64)
        for content in store.contents("train"):
            known = content.labels >= 0
            counts.index_add_(0, content.labels[known], self._histograms(content.codes.grids[level][known]))
        self._log_frequencies = (counts / counts.sum(dim=1, keepdim=True)).log()

    def _histograms(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b k"]:
        """Counts each code of each image."""
        flat = codes.flatten(1)
        return torch.zeros(len(flat), self._num_codes, dtype=torch.float64).scatter_add_(
            1, flat, torch.ones(flat.shape, dtype=torch.float64)
        )

    def probabilities(self, codes: Int64[Tensor, "b h w"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b y"]:
        """Computes the probability of each label; 0 for an image's own.

        Args:
            codes: In [0, K).
            labels: In [0, y).
        """
        # The sum over positions of log p(code | label), as a product of matrices; -inf excludes the own label.
        fit = self._histograms(codes) @ self._log_frequencies.mT
        fit = fit.scatter(1, labels[:, None], -torch.inf).softmax(dim=1)
        # Of many codes the best fit takes nearly all; a uniform share lets every label be contrasted now and then.
        uniform = torch.full_like(fit, 1 / (fit.shape[1] - 1)).scatter(1, labels[:, None], 0)
        return (1 - _UNIFORM_SHARE) * fit + _UNIFORM_SHARE * uniform

    def draw(
        self, codes: Int64[Tensor, "b h w"], labels: Int64[Tensor, " b"], uniforms: Float[Tensor, " b"]
    ) -> Int64[Tensor, " b"]:
        """Draws one wrong label for each image; -1 for an image without a label.

        Args:
            codes: In [0, K).
            labels: In [0, y), or -1 without a label.
            uniforms: In [0, 1), a draw for each image.
        """
        # Inversion: the label drawn is the first whose cumulative probability exceeds the uniform. Its own share is 0.
        cumulative = self.probabilities(codes, labels.clamp(min=0)).cumsum(dim=1)
        drawn = (cumulative <= uniforms.double()[:, None] * cumulative[:, -1:]).sum(dim=1)
        return torch.where(labels < 0, -1, drawn)
