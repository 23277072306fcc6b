"""`vqgen evaluate --quick`: a first look in seconds, by few samples and real images, and without trained classifiers.

`--quick` chooses what the user does not. A number that the user gives counts, and a group that the user asks for is
computed or refused.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.pipeline.base import AnyPipeline

_SAMPLES = 200
"""Samples of all labels together, unless the space of features needs more."""

_REAL_IMAGES = 1000
"""Real images of a split, at most, unless the space needs more."""

_INCEPTION_DIMENSIONS = 2048


@dataclass(frozen=True)
class QuickLook:
    """The extent of a quick evaluation.

    Attributes:
        groups: The groups of metrics to compute.
        left_out: Group that applies to the model but takes too long -> the reason.
        images_per_label: Samples of each label.
        real_images: Real images of a split, at most.
    """

    groups: list[str]
    left_out: Mapping[str, str]
    images_per_label: int
    real_images: int

    @property
    def notice(self) -> str:
        """The line that stands above the metrics."""
        return (
            f"quick look: {self.images_per_label} images a label, at most {self.real_images:,} real images of a split; "
            "its figures cannot be compared with those of a full evaluation"
        )


def choose_quick_look(pipe: "AnyPipeline", groups: Sequence[str], arguments: argparse.Namespace) -> QuickLook:
    """Chooses the extent of a quick evaluation.

    Args:
        pipe: The pipeline.
        groups: The groups that --only names, or all that apply to the model.
        arguments: The parsed words of `vqgen evaluate`. A number that is None is chosen here.

    Raises:
        ConfigError: An option asks for a group that takes too long.
    """
    from vqgen.evaluation.judge.build import OF_SPACE

    reasons = _reasons(pipe, arguments)
    slow = [group for group in groups if group in reasons]
    if arguments.only and slow:
        raise ConfigError(
            f"--only: should name groups that --quick computes, found {', '.join(slow)}: {reasons[slow[0]]}; "
            "leave out --quick, or the group"
        )
    if arguments.pictures:
        raise ConfigError(
            "--pictures: should be left out with --quick, which does not look for the nearest training images, found "
            f"{arguments.pictures!r}; leave out one of the two"
        )
    chosen = [group for group in groups if group not in reasons]
    least = _dimensions(pipe, arguments) + 1 if set(OF_SPACE) & set(chosen) else 1
    per_label = math.ceil(max(_SAMPLES, least) / len(pipe.resolve_labels(None)))
    given_per_label = arguments.images_per_label
    given_real = arguments.real_images
    return QuickLook(
        chosen,
        {group: reasons[group] for group in slow},
        per_label if given_per_label is None else given_per_label,
        max(_REAL_IMAGES, least) if given_real is None else given_real,
    )


def _reasons(pipe: "AnyPipeline", arguments: argparse.Namespace) -> dict[str, str]:
    """Returns each group that takes too long -> the reason."""
    from vqgen.evaluation.judge.build import OF_SPACE

    reasons = {"score": "it trains classifiers", "memorisation": "it compares with all training images"}
    if pipe.parts.classifier is None and not arguments.classifier and not arguments.inception_weights:
        text = "there is no classifier, and training one takes long; --classifier CHECKPOINT names one"
        reasons |= dict.fromkeys(OF_SPACE, text)
    return reasons


def _dimensions(pipe: "AnyPipeline", arguments: argparse.Namespace) -> int:
    """Returns the dimensions of the space of features, as far as they are known: a covariance needs more images."""
    if arguments.inception_weights:
        return _INCEPTION_DIMENSIONS
    classifier = None if arguments.classifier else pipe.parts.classifier
    return 0 if classifier is None else classifier.head.in_features
