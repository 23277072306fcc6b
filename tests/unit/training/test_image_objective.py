import numpy as np
import pytest
import torch
from torch import nn
from training_runs import ADVERSARIAL, make_losses

from vqgen.config import DataConfig
from vqgen.data import ArrayReader, ImageSet
from vqgen.runtime.compute import Compute
from vqgen.training.image_objective import ImageObjective

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 8), dtype=np.uint8)
IMAGES = ImageSet(tuple(map(str, range(7))), np.arange(7) % 3, ArrayReader(PIXELS))


class SmallBatches(ImageObjective):
    validation_batch = 2


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_validate_each_image_once_without_augmentation(world_size):
    data = DataConfig(source="digits", image_size=8, channels=1, horizontal_flip=True, random_shift=2)
    compute = Compute(torch.device("cpu"))
    objectives = [SmallBatches(nn.Identity(), IMAGES, data, compute, rank, world_size) for rank in range(world_size)]
    batches = [batch for objective in objectives for batch in objective._batches()]
    assert max(len(batch.labels) for batch in batches) == 2
    assert torch.cat([batch.labels for batch in batches]).tolist() == IMAGES.labels.tolist()
    assert torch.equal(torch.cat([batch.images for batch in batches])[:, 0], torch.from_numpy(PIXELS))


def make(losses=None):
    data = DataConfig(source="digits", image_size=8, channels=1)
    return SmallBatches(nn.Identity(), IMAGES, data, Compute(torch.device("cpu")), 0, 1, losses=losses)


def test_objective_without_losses_trains_alone():
    objective = make()
    objective.begin_step(0, seed=0)
    objective.end_step()
    assert objective.opponent is None
    assert objective.limits == ()
    assert objective.validation_counts(0, 0)


def test_adversary_of_the_losses_is_the_opponent_and_lets_no_validation_choose():
    objective = make(make_losses(**ADVERSARIAL))
    assert objective.opponent is objective.losses.adversary
    assert [limit.metric for limit in objective.limits] == ["discriminator"]
    assert not objective.validation_counts(9, 9)
    assert make(make_losses(perceptual="classifier")).validation_counts(0, 0)
    found = []
    for step in range(7):
        objective.begin_step(step, seed=0)
        found.append(objective.opponent.takes_part)
        objective.end_step()
    assert found == [False] * 5 + [True] * 2
