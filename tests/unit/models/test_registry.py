import inspect

from vqgen.config import Config
from vqgen.models.autoencoders.kinds import BASELINES
from vqgen.models.classifiers import CLASSIFIERS
from vqgen.models.registry import CONFIGS


def test_every_classifier_and_baseline_is_registered():
    assert {*CLASSIFIERS.values(), *BASELINES.values()} <= CONFIGS.keys()


def test_names_of_classes_are_unique():
    names = [model.__name__ for model in CONFIGS]  # files on disk name the class
    assert len(set(names)) == len(names)


def test_model_is_built_from_its_registered_configuration():
    for model, config in CONFIGS.items():
        (parameter,) = inspect.signature(model).parameters.values()
        assert issubclass(config, Config)
        assert parameter.annotation is config, model
