"""The real images of a checkpoint: those it was trained on, and those held out from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqgen.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from vqgen.config import AnyRecipe
    from vqgen.data import ImageSet
    from vqgen.pipeline.base import AnyPipeline


@dataclass(frozen=True)
class RealImages:
    """Real images of a split, in memory.

    Attributes:
        split: Name of the split.
        images: uint8 `(n, c, H, W)`, after the evaluation transform.
        labels: int64 `(n,)`, -1 for none.
    """

    split: str
    images: "Tensor"
    labels: "Tensor"

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: "Tensor") -> "RealImages":
        """The images at `indices`."""
        return RealImages(self.split, self.images[indices], self.labels[indices])


def recipe_of(pipe: "AnyPipeline") -> "AnyRecipe":
    """The recipe that a pipeline folder carries with it.

    Raises:
        CheckpointError: It carries none.
    """
    import tomllib

    from vqgen.config.loading import validate_recipe

    text = pipe.parts.texts.get("recipe.toml")
    if text is None:
        raise CheckpointError(
            f"pipeline {pipe.parts.name!r}: has no recipe.toml, so its held-out images are not known; "
            "give a run folder, or a pipeline folder as a run wrote it"
        )
    return validate_recipe(tomllib.loads(text), origin=f"of pipeline {pipe.parts.name!r}", warn=False)


def open_real_images(
    pipe: "AnyPipeline", root: str | None, *, most: int, splits: list[str], seed: int | None = None
) -> "dict[str, RealImages]":
    """Reads the images of a checkpoint's splits, the ones that it was trained on or never saw.

    Args:
        pipe: The pipeline.
        root: Folder of the images; None for where the recipe says.
        most: Images to read of each split, at most; chosen at random where there are more.
        splits: Names of the splits: train, validation, test; one that the source does not have is left out.
        seed: Seed of the choice where there are more; None for the recipe's.

    Raises:
        CheckpointError: The pipeline does not say what its images were.
        DataError: The images are missing, or others than those of the training.
    """
    from vqgen.data import open_images

    if most < 1:
        raise ConfigError(f"--real-images: should be at least 1, found {most}")
    recipe = recipe_of(pipe)
    where = {} if root is None else {"root": root}
    data = pipe.parts.data.model_copy(update={"root": recipe.data.root, **where})
    opened = open_images(data, recipe.seed)
    found = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    if opened.label_map.names != pipe.label_map.names or (pipe.parts.split and opened.indices != pipe.parts.split):
        raise DataError(
            f"{data.source}: should be the images that pipeline {pipe.parts.name!r} was trained on, found others "
            "(labels or split differ from its split.json); --data-root names the folder that holds them"
        )
    seed = recipe.seed if seed is None else seed
    return {name: _read(pipe, name, images, most, seed) for name in splits if (images := found[name])}


def _read(pipe: "AnyPipeline", split: str, images: "ImageSet", most: int, seed: int) -> RealImages:
    import numpy as np
    import torch

    from vqgen.data import evaluation_batches, evaluation_transform
    from vqgen.runtime.randomness import derive_seed

    if len(images) > most:
        order = np.random.default_rng(derive_seed(seed, "evaluation", split)).permutation(len(images))
        images = images.subset(np.sort(order[:most]).tolist())
    batches = list(evaluation_batches(images, evaluation_transform(pipe.parts.data), batch_size=256))
    return RealImages(
        split, torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])
    )
