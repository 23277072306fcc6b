import numpy as np
import pytest
import torch
from torch import nn

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
