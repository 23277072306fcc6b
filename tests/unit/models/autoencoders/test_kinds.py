from typing import get_args

import pytest
from tiny_models import make_baseline

from vqgen.config import BaselineKind
from vqgen.models.autoencoders.kinds import BASELINES


def test_every_kind_of_a_recipe_has_a_model():
    assert set(BASELINES) == set(get_args(BaselineKind))


@pytest.mark.parametrize("kind", BASELINES)
def test_baseline_is_built_with_its_configuration(kind):
    model = make_baseline(kind=kind, num_classes=3)
    assert type(model) is BASELINES[kind]
    assert model.config.kind == kind
