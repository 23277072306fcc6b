"""The speeds of the pieces of a run: `Rates`, estimated from FLOPs here and measured by `budget_meter`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vqgen.config import AnyRecipe, TrainConfig
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.estimates import SECONDS_PER_IMAGE
from vqgen.planning.plans import StagePlan
from vqgen.sampling.rejection import candidates_for

_LEAST = 1e-9
"""Smallest rate, so that ratios are finite."""


@dataclass(frozen=True)
class Rates:
    """Seconds of the pieces of a run.

    Attributes:
        steps: Stage that trains -> seconds of a step, with its batch at hand.
        encode: Seconds to encode an image.
        sample: Seconds to sample and decode an image.
        centre: Seconds to turn a picture that has been read into a square of pixels.
        random: Seconds to make a random square: from a picture if it is cropped, or else from its centre square.
        threads: Stage -> its threads of torch; a stage that is missing has one.
    """

    steps: Mapping[str, float]
    encode: float
    sample: float
    centre: float = 0.0
    random: float = 0.0
    threads: Mapping[str, int] = field(default_factory=dict)

    def over(self, other: "Rates") -> "Rates":
        """Returns the ratios of these rates to others of the same stages."""
        return replace(
            self,
            steps={stage: seconds / max(_LEAST, other.steps[stage]) for stage, seconds in self.steps.items()},
            encode=self.encode / max(_LEAST, other.encode),
            sample=self.sample / max(_LEAST, other.sample),
        )

    def times(self, ratios: "Rates") -> "Rates":
        """Returns these rates, each multiplied by its ratio. A stage without a ratio takes the mean of all stages."""
        mean = sum(ratios.steps.values()) / len(ratios.steps)
        return replace(
            self,
            steps={stage: seconds * ratios.steps.get(stage, mean) for stage, seconds in self.steps.items()},
            encode=self.encode * ratios.encode,
            sample=self.sample * ratios.sample,
        )

    def slower(self, factor: float, *, centre: float, random: float) -> "Rates":
        """Returns these rates, each multiplied by a factor, with the given transforms of pictures."""
        steps = {stage: seconds * factor for stage, seconds in self.steps.items()}
        return Rates(steps, self.encode * factor, self.sample * factor, centre, random, self.threads)


def estimate_rates(
    plans: list[StagePlan], recipe: AnyRecipe, pictures: Pictures, threads: Mapping[str, int] | None = None
) -> Rates:
    """Estimates the rates of a recipe. The transforms of pictures are not estimated: a planner does not know them.

    Args:
        plans: The plan of each stage, with times.
        recipe: The recipe.
        pictures: The pictures of the run.
        threads: Stage -> its threads of torch.
    """
    counts = pictures.counts
    seconds = {plan.stage: plan.seconds or 0.0 for plan in plans}
    steps = {
        stage: seconds[stage] / steps_of(train, images_of(recipe, stage, pictures))
        for stage, train in training_sections(recipe)
    }
    encoded = counts.total + recipe.data.num_copies * counts.train
    return Rates(
        steps=steps,
        encode=max(_LEAST, seconds.get("codes", 0.0) / encoded - SECONDS_PER_IMAGE),
        sample=max(_LEAST, seconds["samples"] / sampled_images(recipe, counts.classes)),
        threads=threads or {},
    )


def training_sections(recipe: AnyRecipe) -> list[tuple[str, TrainConfig]]:
    """Lists the stages of a run that train, with their trainings, in order."""
    sections = [(stage, recipe.stage_section(stage)) for stage in recipe.stage_names]
    trainings = [(stage, getattr(found[1], "train", None)) for stage, found in sections if found]
    return [(stage, train) for stage, train in trainings if train is not None]


def images_of(recipe: AnyRecipe, stage: str, pictures: Pictures) -> int:
    """Counts the images that a stage trains on; those of a prior are the codes of augmented copies, too."""
    return pictures.counts.train * (1 + recipe.data.num_copies if stage.startswith("prior-") else 1)


def steps_of(train: TrainConfig, images: int) -> int:
    """Counts the steps of a training."""
    return train.steps if train.epochs is None else max(1, -(-round(train.epochs * images) // train.batch_size))


def sampled_images(recipe: AnyRecipe, classes: int) -> int:
    """Counts the samples of a run, with those that are drawn and not kept."""
    return max(1, classes) * candidates_for(recipe.generate.images_per_label, recipe.generate.keep)
