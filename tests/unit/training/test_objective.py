import pytest
import torch
from training_runs import TinyBatches

from vqgen.data import TrainingOrder
from vqgen.training.objective import Batches, Objective


def test_objective_without_validate_is_refused():
    with pytest.raises(TypeError, match="Objective should define validate"):
        Objective().validate()


def test_objective_is_compiled_as_a_whole_by_default():
    objective = Objective()
    assert list(objective.compiled_parts()) == [objective]


def test_batches_are_recognized_by_their_methods():
    assert isinstance(TinyBatches(TrainingOrder(4, 2, 0, 4), torch.float32, 0, 1), Batches)
    assert not isinstance([], Batches)
