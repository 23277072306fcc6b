import pytest
import torch
import torch.distributed as dist
from process_group import run_processes

from vqgen.pipeline.gathering import gather_images
from vqgen.pipeline.request import GeneratedImages
from vqgen.runtime.collective import Processes

CPU = torch.device("cpu")


def images(values):
    """Returns grey images of one pixel each. Image `v` has the value and the label `v`."""
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1)
    return GeneratedImages(pixels=pixels, log_likelihood=None, labels=list(values), seed=3)


def gathered_in_a_process(shares):
    rank = dist.get_rank()
    part = images(shares[rank]) if shares[rank] else None
    whole = gather_images(part, Processes(rank, dist.get_world_size(), CPU))
    return whole.labels, whole.pixels.flatten().tolist(), whole.seed


@pytest.mark.parametrize("shares", [[[4, 7], [9]], [[4], []]], ids=["both", "one_without_images"])
def test_shares_are_joined_by_rank_and_pixels_reach_the_main_process_alone(shares):
    values = [value for share in shares for value in share]
    main, other = run_processes(2, gathered_in_a_process, shares)
    assert main == (values, values, 3)
    assert other == (values, [], 3)


def test_one_process_gets_its_own_images_back():
    part = images([1, 2])
    assert gather_images(part, Processes(0, 1, CPU)) is part
