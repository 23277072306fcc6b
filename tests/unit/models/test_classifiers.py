from typing import get_args

import pytest

from vqgen.config import ClassifierConfig, ClassifierKind
from vqgen.models.classifiers import CLASSIFIERS, build_classifier


def test_every_kind_of_a_recipe_has_a_classifier():
    assert set(CLASSIFIERS) == set(get_args(ClassifierKind))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifier_is_built_with_its_configuration(kind):
    config = ClassifierConfig(kind=kind, image_size=8, image_channels=1, num_classes=3)
    classifier = build_classifier(config)
    assert type(classifier) is CLASSIFIERS[kind]
    assert classifier.config == config
