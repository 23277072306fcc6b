"""The classifiers by their kind."""

from vqgen.config import ClassifierConfig, ClassifierKind
from vqgen.models.classifier import Classifier
from vqgen.models.hidden_layer_classifier import HiddenLayerClassifier
from vqgen.models.image_classifier import ImageClassifier

CLASSIFIERS: dict[ClassifierKind, type[Classifier] | type[HiddenLayerClassifier]] = {
    "residual": Classifier,
    "hidden-layer": HiddenLayerClassifier,
}


def build_classifier(config: ClassifierConfig) -> ImageClassifier:
    """Builds the classifier that a configuration asks for."""
    return CLASSIFIERS[config.kind](config)
