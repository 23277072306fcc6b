"""The length of a stage's training: its steps or its epochs, as a recipe or the record of a stage has them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vqgen.config.baseline_recipe import AnyRecipe
from vqgen.config.training import TrainConfig


@dataclass(frozen=True)
class Length:
    """The length of a training.

    Attributes:
        steps: Steps of the optimizer; without a meaning if there are epochs.
        epochs: Passes over the training images; None counts steps.
    """

    # The names of these fields are fields of a recipe and keys of stage.json.
    steps: int
    epochs: float | None = None

    @property
    def text(self) -> str:
        """The length in words, such as `800 steps` or `3 epochs`."""
        return f"{self.steps:,} steps" if self.epochs is None else f"{self.epochs:g} epochs"

    def is_longer_than(self, before: "Length", finished: int) -> bool:
        """Returns True if a training of length `before` goes on to reach this length.

        Args:
            before: The length so far.
            finished: Steps that the training has done. Only they compare steps with epochs.
        """
        if self.epochs is None:
            return self.steps > (finished if before.epochs is not None else max(finished, before.steps))
        return before.epochs is not None and self.epochs > before.epochs

    def applied(self, train: TrainConfig) -> TrainConfig:
        """Returns the settings of a training with this length."""
        return train.model_copy(update={"steps": self.steps, "epochs": self.epochs})


def training_stages(recipe: AnyRecipe, stages: Iterable[str]) -> list[str]:
    """Selects the stages that train a model."""
    found = ((stage, recipe.stage_section(stage)) for stage in stages)
    return [stage for stage, section in found if section is not None and hasattr(section[1], "train")]


def training_path(recipe: AnyRecipe, stage: str) -> str:
    """Returns the path of a stage's training in the recipe, such as `vqvae.train` or `priors.0.train`."""
    section = recipe.stage_section(stage)
    assert section is not None, f"{stage} does not train"
    return f"{section[0]}.train"


def length_of(recipe: AnyRecipe, stage: str) -> Length:
    """Returns the length of a stage's training in a recipe."""
    train = _training(recipe, stage)
    return Length(train.steps, train.epochs)


def length_in(fields: Mapping[str, Any], path: str) -> Length:
    """Returns the length of a training in the fingerprint of its stage.

    Args:
        fields: Path of each field -> its value.
        path: The path of the training; see `training_path`.
    """
    return Length(fields[f"{path}.steps"], fields[f"{path}.epochs"])


def without_length(fields: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Returns a fingerprint without the length of its training."""
    return {name: value for name, value in fields.items() if name not in (f"{path}.steps", f"{path}.epochs")}


def with_length(recipe: AnyRecipe, stage: str, length: Length) -> AnyRecipe:
    """Returns the recipe with another length of a stage's training, and no limit of its time.

    A limit covers all sessions of a training. Of a training that goes on it is used up, and it would end the training
    at once.
    """
    found = recipe.stage_section(stage)
    assert found is not None, f"{stage} does not train"
    path, section = found
    train = length.applied(_training(recipe, stage)).model_copy(update={"max_seconds": None})
    changed = section.model_copy(update={"train": train})
    name, _, index = path.partition(".")
    if index:
        entries = list(getattr(recipe, name))
        entries[int(index)] = changed
        return recipe.model_copy(update={name: tuple(entries)})
    return recipe.model_copy(update={name: changed})


def _training(recipe: AnyRecipe, stage: str) -> TrainConfig:
    section = recipe.stage_section(stage)
    train = None if section is None else getattr(section[1], "train", None)
    assert isinstance(train, TrainConfig), f"{stage} does not train"
    return train
