from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from process_group import run_processes

from vqgen.pipeline.gathering import chosen_parts, gather_images
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


@pytest.mark.parametrize(
    "shares",
    [pytest.param([[4, 7], [9]], marks=pytest.mark.slow), [[4], []]],
    ids=["both", "one_without_images"],
)
def test_shares_are_joined_by_rank_and_pixels_reach_the_main_process_alone(shares):
    values = [value for share in shares for value in share]
    main, other = run_processes(2, gathered_in_a_process, shares)
    assert main == (values, values, 3)
    assert other == (values, [], 3)


def test_one_process_gets_its_own_images_back():
    part = images([1, 2])
    assert gather_images(part, Processes(0, 1, CPU)) is part


def parts_of(labels, wanted, candidates, size):
    """Returns the parts of a request whose images are their places, and the places that were drawn together."""
    drawn = []

    def draw(own, places):
        drawn.append(list(places))
        sureness = torch.tensor(places, dtype=torch.float64) if candidates > wanted else None
        return replace(images(list(places)), labels=list(own), label_probability=sureness)

    parts = list(chosen_parts(labels, (wanted, candidates), size, draw, Processes(0, 1, CPU)))
    return [(part.labels, part.pixels.flatten().tolist()) for part in parts], drawn


def test_parts_are_the_request_in_order_and_never_larger_than_asked():
    parts, drawn = parts_of([7, None], 3, 3, 4)
    assert parts == [([7, 7, 7, None], [0, 1, 2, 3]), ([None, None], [4, 5])]
    assert drawn == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize(("size", "rows"), [(1, 1), (5, 1), (8, 2), (100, 3)])
def test_part_has_all_candidates_of_a_label_if_the_classifier_chooses(size, rows):
    parts, drawn = parts_of([0, 1, 2], 2, 4, size)
    assert [len(places) for places in drawn] == [4 * min(rows, 3 - begin) for begin in range(0, 3, rows)]
    assert [value for _, values in parts for value in values] == [2, 3, 6, 7, 10, 11]
    assert [label for labels, _ in parts for label in labels] == [0, 0, 1, 1, 2, 2]
