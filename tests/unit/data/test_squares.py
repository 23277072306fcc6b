"""Squares of a set of images: one by one or many at once, cached or not, by one thread or several, the same pixels."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.config import DataConfig
from vqgen.data import ImageSet, squares, training_transform
from vqgen.data.squares import Squares
from vqgen.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (11, 12, 10, 3), dtype=np.uint8)
INDICES = [3, 0, 10, 3, 7]
SEEDS = [5, 6, 7, 8, 2**62]
ROTATED = {"random_rotation": 20.0}
CROPPED = {"random_crop": 0.5, "horizontal_flip": True}


class Counting:
    """A reader that notes what it reads, and cannot read image 4."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def __call__(self, index: int) -> Image.Image:
        self.reads.append(index)
        if index == 4:
            raise DataError("cannot read image '4'")
        return Image.fromarray(PIXELS[index])


def make(cache: bool = False, **fields: Any) -> tuple[Squares, Counting]:
    config = DataConfig.model_validate({"source": "folder", "image_size": 8, "channels": 3, **fields})
    reader = Counting()
    images = ImageSet(tuple(map(str, range(11))), np.arange(11), reader)
    return Squares(images, training_transform(config), cache=cache), reader


def expected(random: bool, **fields: Any) -> torch.Tensor:
    found, reader = make(**fields)
    transform = found._transform
    if random:
        return torch.stack([transform(reader(index), seed) for index, seed in zip(INDICES, SEEDS, strict=True)])
    return torch.stack([transform.centre(reader(index)) for index in INDICES])


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("fields", [{}, ROTATED, CROPPED])
def test_many_squares_are_those_of_single_pictures(fields, cache, workers, monkeypatch):
    monkeypatch.setattr(squares, "_VARIED_PIXELS", 2 * 3 * 8 * 8)  # five squares are then varied in three parts
    found, _ = make(cache, **fields)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        each = pool.map if workers else map
        for _ in range(2):  # the second time from the cache
            assert torch.equal(found.random(INDICES, SEEDS, each), expected(True, **fields))
            assert torch.equal(found.centred(INDICES, each), expected(False, **fields))


def test_cache_reads_each_image_once():
    found, reader = make(True, **ROTATED)
    found.centred(INDICES)
    found.random(INDICES[::-1], SEEDS)
    assert reader.reads == [3, 0, 10, 7]


def test_result_does_not_lie_in_the_cache():
    found, _ = make(True)
    before = found.centred(INDICES).clone()
    found.centred(INDICES).zero_()
    found.random(INDICES, SEEDS).zero_()
    assert torch.equal(found.centred(INDICES), before)


def test_random_crops_read_each_time():
    found, reader = make(True, **CROPPED)
    for _ in range(2):
        found.random([3, 3], [1, 2])
    assert reader.reads == [3] * 4


@pytest.mark.parametrize(("limit", "is_cached"), [(11 * 3 * 64, True), (11 * 3 * 64 - 1, False)])
def test_set_that_does_not_fit_is_not_cached(limit, is_cached, monkeypatch):
    monkeypatch.setattr(squares, "CACHE_LIMIT", limit)
    found, reader = make(True)
    assert found.is_cached == is_cached
    found.centred([1, 1])
    found.centred([1])
    assert len(reader.reads) == (1 if is_cached else 3)


@pytest.mark.parametrize("cache", [False, True])
def test_no_image_is_a_batch_of_none(cache):
    found, _ = make(cache, **ROTATED)
    assert found.centred([]).shape == found.random([], []).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("cache", [False, True])
def test_unreadable_image_is_named_and_not_cached(cache, workers):
    found, _ = make(cache, **ROTATED)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        each = pool.map if workers else map
        for _ in range(2):
            with pytest.raises(DataError, match=r"^cannot read image '4'$"):
                found.centred([1, 4], each)
            with pytest.raises(DataError, match=r"^cannot read image '4'$"):
                found.random([4, 1], [1, 2], each)
        assert found.centred([1], each).shape == (1, 3, 8, 8)
