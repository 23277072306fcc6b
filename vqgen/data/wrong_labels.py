"""Wrong labels to tell the true one from: for each image one that its codes might have had.

Legend: `b` images, `h w` grid, `k` codebook entries, `y` labels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vqgen.config import Recipe
from vqgen.data import CodeStore
from vqgen.errors import ConfigError

_UNIFORM_SHARE = 0.1


def check_label_contrast(recipe: Recipe, num_labels: int) -> None:
    """Refuses a prior that should tell labels apart where there are none.

    Raises:
        ConfigError: There are fewer than two labels.
    """
    for index, prior in enumerate(recipe.priors):
        if prior.label_contrast and num_labels < 2:
            raise ConfigError(
                f"priors.{index}.label_contrast: should be 0 for images without two labels to tell apart, "
                f"found {prior.label_contrast:g} and {num_labels} labels; give the images labels (a folder for each)"
            )


class WrongLabels:
    """Draws a label other than an image's own, the likelier the better the image's codes fit it.

    How well they fit is told by how often each code occurs in the training images of each label, wherever it stands
    (naive Bayes); a tenth of the draws ignores it.

    Args:
        store: The codes of the training images.
        level: Whose codes.
        num_labels: Labels of the label map, at least 2.
    """

    def __init__(self, store: CodeStore, level: str, num_labels: int) -> None:
        self._num_codes = store.info.codebook_size
        counts = torch.ones(num_labels, self._num_codes, dtype=torch.float64)
        for content in store.contents("train"):
            known = content.labels >= 0
            counts.index_add_(0, content.labels[known], self._histograms(content.codes.grids[level][known]))
        self._log_frequencies = (counts / counts.sum(dim=1, keepdim=True)).log()

    def _histograms(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b k"]:
        flat = codes.flatten(1)
        return torch.zeros(len(flat), self._num_codes, dtype=torch.float64).scatter_add_(
            1, flat, torch.ones(flat.shape, dtype=torch.float64)
        )

    def probabilities(self, codes: Int64[Tensor, "b h w"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b y"]:
        """How likely each label is to be drawn; 0 for an image's own.

        Args:
            codes: In [0, K).
            labels: In [0, y).
        """
        fit = self._histograms(codes) @ self._log_frequencies.mT
        fit = fit.scatter(1, labels[:, None], -torch.inf).softmax(dim=1)
        others = torch.full_like(fit, 1 / (fit.shape[1] - 1)).scatter(1, labels[:, None], 0)
        return (1 - _UNIFORM_SHARE) * fit + _UNIFORM_SHARE * others

    def draw(
        self, codes: Int64[Tensor, "b h w"], labels: Int64[Tensor, " b"], uniforms: Float[Tensor, " b"]
    ) -> Int64[Tensor, " b"]:
        """Draws one wrong label for each image; -1 for an image without a label.

        Args:
            codes: In [0, K).
            labels: In [0, y), or -1 without a label.
            uniforms: In [0, 1), a draw for each image.
        """
        cumulative = self.probabilities(codes, labels.clamp(min=0)).cumsum(dim=1)
        below_one = uniforms.double().clamp(max=1 - 2**-24)  # so that the label drawn has a probability
        drawn = (cumulative <= below_one[:, None] * cumulative[:, -1:]).sum(dim=1)
        return torch.where(labels < 0, -1, drawn)
