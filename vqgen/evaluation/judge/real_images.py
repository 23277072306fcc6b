"""The real images of a checkpoint: the ones that it was trained on, and the ones held out from its training.

Legend: `n` images, `c` channels, `H W` image.
"""

import tomllib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from vqgen.config import AnyRecipe
from vqgen.config.loading import validate_recipe
from vqgen.data import ImageSet, evaluation_batches, evaluation_transform, open_images
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline.base import AnyPipeline
from vqgen.runtime.randomness import derive_seed


@dataclass(frozen=True)
class RealImages:
    """Real images of a split, in memory.

    Attributes:
        split: Name of the split.
        images: The images, after the evaluation transform.
        labels: Their labels; -1 for none.
    """

    split: str
    images: UInt8[Tensor, "n c H W"]
    labels: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Int64[Tensor, " chosen"]) -> "RealImages":
        """Returns the images at `indices`."""
        return RealImages(self.split, self.images[indices], self.labels[indices])


def recipe_of(pipe: AnyPipeline) -> AnyRecipe:
    """Returns the recipe in the folder of a pipeline.

    Raises:
        CheckpointError: The folder has no recipe.
    """
    text = pipe.parts.texts.get("recipe.toml")
    if text is None:
        raise CheckpointError(
            f"pipeline {pipe.parts.name!r}: has no recipe.toml, so its held-out images are not known; "
            "give a run folder, or a pipeline folder as a run wrote it"
        )
    return validate_recipe(tomllib.loads(text), origin=f"of pipeline {pipe.parts.name!r}", warn=False)


def open_real_images(
    pipe: AnyPipeline, root: str | None, *, most: int, splits: list[str], seed: int | None = None
) -> dict[str, RealImages]:
    """Reads the images of a checkpoint's splits: the ones that it was trained on, and the ones that it never saw.

    Args:
        pipe: The pipeline.
        root: Folder of the images; None for the folder in the recipe.
        most: Images to read of each split, at most, at least 1; a larger split is sampled at random.
        splits: Names of the splits: train, validation, test. A split that the source does not have is left out.
        seed: Seed of the random choice; None for the recipe's.

    Returns:
        Name of the split -> images.

    Raises:
        ConfigError: `most` is below 1.
        CheckpointError: The pipeline has no recipe, so its images are not known.
        DataError: The images are missing, or are not those of the training.
    """
    if most < 1:
        raise ConfigError(f"--real-images: should be at least 1, found {most}")
    recipe = recipe_of(pipe)
    data = pipe.parts.data.model_copy(update={"root": recipe.data.root if root is None else root})
    # The split is drawn again from the recipe's seed, and has to come out as it was recorded at the training.
    opened = open_images(data, recipe.seed)
    found = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    if opened.label_map.names != pipe.label_map.names or (pipe.parts.split and opened.indices != pipe.parts.split):
        raise DataError(
            f"{data.source}: should be the images that pipeline {pipe.parts.name!r} was trained on, found others "
            "(labels or split differ from its split.json); --data-root names the folder that holds them"
        )
    seed = recipe.seed if seed is None else seed
    return {name: _read(pipe, name, images, most, seed) for name in splits if (images := found[name])}


def _read(pipe: AnyPipeline, split: str, images: ImageSet, most: int, seed: int) -> RealImages:
    if len(images) > most:
        order = np.random.default_rng(derive_seed(seed, "evaluation", split)).permutation(len(images))
        # In the order of the set, which is the order of its files on disk.
        images = images.subset(np.sort(order[:most]).tolist())
    batches = list(evaluation_batches(images, evaluation_transform(pipe.parts.data), batch_size=256))
    return RealImages(
        split, torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])
    )
