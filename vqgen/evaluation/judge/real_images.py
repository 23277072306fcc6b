"""The real images of a checkpoint: the ones that it was trained on, and the ones held out from its training.

Legend: `n` images, `c` channels, `H W` image.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from vqgen.config import AnyRecipe, DataConfig, read_recipe
from vqgen.config.base import is_runtime_field
from vqgen.config.loading import validate_recipe
from vqgen.config.portable import portable_document
from vqgen.data import ImageSet, evaluation_batches, evaluation_transform, open_images, read_exclusions
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.evaluation.features import FeatureSpace
from vqgen.evaluation.stored_features import FeatureOrigin
from vqgen.pipeline.base import AnyPipeline
from vqgen.runtime.randomness import derive_seed
from vqgen.storage.documents import parse_toml


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

    # A frozen dataclass may still have what it computes once and keeps.
    @cached_property
    def sha256(self) -> str:
        """SHA-256, in hex, of the pixels in their order: of the set, the choice among its images and the transform."""
        found = hashlib.sha256(f"{tuple(self.images.shape)}".encode())
        for image in self.images:  # one by one, because the bytes are a copy
            found.update(image.numpy().tobytes())
        return found.hexdigest()

    def subset(self, indices: Int64[Tensor, " chosen"]) -> "RealImages":
        """Returns the images at `indices`."""
        return RealImages(self.split, self.images[indices], self.labels[indices])


def feature_origin(real: RealImages, space: FeatureSpace | None = None) -> FeatureOrigin:
    """Returns the origin that features of real images have.

    Args:
        real: The images.
        space: The space; None if its network is not known yet.
    """
    if space is None:
        return FeatureOrigin(len(real), real.sha256)
    return FeatureOrigin(len(real), real.sha256, space.dtype, space.name)


def recipe_of(pipe: AnyPipeline) -> AnyRecipe:
    """Returns the recipe in the folder of a pipeline, without the fields of the machine where it was trained.

    Raises:
        CheckpointError: The folder has no recipe, or it is not TOML.
        ConfigError: Fields of the recipe are wrong.
    """
    text = pipe.parts.texts.get("recipe.toml")
    if text is None:
        raise CheckpointError(
            f"pipeline {pipe.parts.name!r}: has no recipe.toml, so its held-out images are not known; "
            "give a run folder, or a pipeline folder as a run wrote it"
        )
    origin = f"of pipeline {pipe.parts.name!r}"
    # A pipeline may come from a stranger, whose paths and numbers of processes are nothing for this machine.
    document = portable_document(parse_toml(text, f"recipe.toml {origin}"))
    return validate_recipe(document, origin=origin, stored=True)


def open_real_images(
    pipe: AnyPipeline, root: str | None, *, most: int, splits: list[str], seed: int | None = None
) -> dict[str, RealImages]:
    """Reads the images of a checkpoint's splits: the ones that it was trained on, and the ones that it never saw.

    Args:
        pipe: The pipeline.
        root: Folder of the images; None for the folder in the recipe of the run folder that the pipeline lies in.
        most: Images to read of each split, at most, at least 1; a larger split is sampled at random.
        splits: Names of the splits: train, validation, test. A split that the source does not have is left out.
        seed: Seed of the random choice; None for the recipe's.

    Returns:
        Name of the split -> images.

    Raises:
        ConfigError: `most` is below 1.
        CheckpointError: The pipeline has no recipe, so its images are not known.
        DataError: The images are missing, or are not those of the training, or their folder is not known.
    """
    if most < 1:
        raise ConfigError(f"--real-images: should be at least 1, found {most}")
    recipe = recipe_of(pipe)
    data = _data_on_this_machine(pipe, root)
    # The split is drawn again from the recipe's seed, and has to come out as it was recorded at the training.
    run = pipe.parts.run_folder
    opened = open_images(data, recipe.seed, exclusions={} if run is None else read_exclusions(run))
    found = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    is_like = opened.label_map.is_like(pipe.label_map)
    if not is_like or (pipe.parts.split and opened.indices != pipe.parts.split):
        raise DataError(
            f"{data.source}: should be the images that pipeline {pipe.parts.name!r} was trained on, found others "
            "(labels or split differ from its split.json); --data-root names the folder that holds them"
        )
    seed = recipe.seed if seed is None else seed
    return {name: _read(pipe, name, images, most, seed) for name in splits if (images := found[name])}


def _data_on_this_machine(pipe: AnyPipeline, root: str | None) -> DataConfig:
    """Returns the images of a pipeline, with the folder that the user or the local run folder names."""
    local: dict[str, object] = {}
    if pipe.parts.run_folder is not None:
        own = read_recipe(pipe.parts.run_folder / "recipe.toml").data
        local = {name: getattr(own, name) for name in DataConfig.model_fields if is_runtime_field(DataConfig, name)}
    if root is not None:
        local["root"] = root
    data = pipe.parts.data.model_copy(update=local)
    if data.source == "folder" and data.root is None:
        raise DataError(
            f"--data-root: should name the folder with the images of pipeline {pipe.parts.name!r}, found none: a "
            "pipeline folder does not name it; give --data-root FOLDER, or the run folder as CHECKPOINT"
        )
    return data


def _read(pipe: AnyPipeline, split: str, images: ImageSet, most: int, seed: int) -> RealImages:
    if len(images) > most:
        order = np.random.default_rng(derive_seed(seed, "evaluation", split)).permutation(len(images))
        # In the order of the set, which is the order of its files on disk.
        images = images.subset(np.sort(order[:most]).tolist())
    batches = list(evaluation_batches(images, evaluation_transform(pipe.parts.data), batch_size=256))
    return RealImages(
        split, torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])
    )
