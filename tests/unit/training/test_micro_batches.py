from dataclasses import dataclass

import pytest
import torch

from vqgen.training.micro_batches import length_of, split_batch, to_device


@dataclass
class Batch:
    images: torch.Tensor
    nothing: None
    names: list[str]


@pytest.mark.parametrize(("parts", "sizes"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (4, [2, 2, 1]), (9, [1] * 5)])
def test_batch_is_cut_in_order_into_parts_that_are_not_empty(parts, sizes):
    batch = Batch(torch.arange(5), None, list("abcde"))
    cut = split_batch(batch, parts)
    assert [len(part.images) for part in cut] == sizes
    assert torch.cat([part.images for part in cut]).tolist() == [0, 1, 2, 3, 4]
    assert [name for part in cut for name in part.names] == list("abcde")
    assert all(part.nothing is None for part in cut)


def test_length_of_a_batch_is_the_number_of_its_images():
    assert length_of(Batch(torch.zeros(3, 1, 2, 2), None, [])) == 3


def test_fields_move_to_the_device_in_their_order():
    batch = Batch(torch.arange(2), None, ["a", "b"])
    images, nothing, names = to_device(batch, torch.device("meta"))
    assert images.device.type == "meta"
    assert nothing is None
    assert names == ["a", "b"]
