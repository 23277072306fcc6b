"""The kinds of classifiers."""

from vqgen.config import ClassifierConfig, ClassifierKind
from vqgen.models.classifier import Classifier
from vqgen.models.hidden_layer_classifier import HiddenLayerClassifier
from vqgen.models.image_classifier import ImageClassifier

CLASSIFIERS: dict[ClassifierKind, type[Classifier] | type[HiddenLayerClassifier]] = {
    "residual": Classifier,
    "hidden-layer": HiddenLayerClassifier,
}
"""Kind, as in a recipe -> class of the classifier."""


def build_classifier(config: ClassifierConfig) -> ImageClassifier:
    """Builds a classifier of the kind that the configuration names, with random weights."""
    return CLASSIFIERS[config.kind](config)
