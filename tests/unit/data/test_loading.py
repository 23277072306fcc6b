from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.config import DataConfig
from vqgen.data import (
    ImageBatch,
    ImageBatches,
    ImageSet,
    TrainingOrder,
    evaluation_batches,
    evaluation_transform,
    squares,
    training_batches,
    training_transform,
)
from vqgen.data.image_set import ArrayReader
from vqgen.errors import DataError
from vqgen.runtime.randomness import derive_seed

PIXELS = np.random.default_rng(0).integers(0, 256, (11, 10, 10), dtype=np.uint8)
IMAGES = ImageSet(tuple(map(str, range(11))), np.arange(11) % 3, ArrayReader(PIXELS))
PLAIN = DataConfig.model_validate({"source": "digits", "image_size": 8, "channels": 1})
AUGMENTED = PLAIN.model_copy(update={"random_shift": 2, "horizontal_flip": True})
# Python 3.12 and later warn of every fork while there are threads; that is how torch starts its workers.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Counting:
    def __init__(self) -> None:
        self.reads: list[int] = []

    def __call__(self, index: int) -> Image.Image:
        self.reads.append(index)
        return Image.fromarray(PIXELS[index])


class Broken:
    def __call__(self, index: int) -> Image.Image:
        if index == 4:
            raise DataError("cannot read image '4'")
        return Image.fromarray(PIXELS[index])


def batches(config: DataConfig = AUGMENTED, images: ImageSet = IMAGES, **options: Any) -> ImageBatches:
    order = TrainingOrder(len(images), 4, 0, 30)
    options = {"rank": 0, "world_size": 1, "seed": 5, "cache": False, **options}
    return ImageBatches(images, training_transform(config), order, **options)


def assert_same(found: list[ImageBatch], expected: list[ImageBatch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.positions, other.positions)


def joined(parts: list[ImageBatch]) -> ImageBatch:
    fields = ("images", "labels", "positions")
    return ImageBatch(*(torch.cat([getattr(part, field) for part in parts]) for field in fields))


def test_batch_follows_order_and_transform() -> None:
    order = TrainingOrder(11, 4, 0, 30)
    transform = training_transform(AUGMENTED)
    for step, batch in enumerate(batches().steps()):
        positions, indices = order.batch(step)
        assert batch.positions.tolist() == positions
        assert batch.labels.tolist() == IMAGES.labels[indices].tolist()
        assert (batch.images.dtype, batch.labels.dtype, batch.positions.dtype) == (
            torch.uint8, torch.int64, torch.int64,
        )  # fmt: skip
        for image, position, index in zip(batch.images, positions, indices, strict=True):
            assert torch.equal(image, transform(IMAGES.read(index), derive_seed(5, "augment", position)))


@pytest.mark.parametrize(("config", "cache"), [(AUGMENTED, False), (PLAIN, False), (PLAIN, True)])
def test_resumed_run_sees_the_rest(config: DataConfig, cache: bool) -> None:
    whole = list(batches(config, cache=cache).steps())
    assert len(whole) == 8
    assert_same(list(batches(config, cache=cache).steps(3)), whole[3:])
    assert list(batches(config, cache=cache).steps(8)) == []


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize(("config", "cache"), [(AUGMENTED, False), (PLAIN, True)])
def test_shares_joined_are_the_batch(config: DataConfig, cache: bool, world_size: int) -> None:
    shares = [list(batches(config, cache=cache, rank=r, world_size=world_size).steps()) for r in range(world_size)]
    assert_same([joined(list(parts)) for parts in zip(*shares, strict=True)], list(batches(config).steps()))


def test_empty_share_has_the_shape_of_a_batch() -> None:
    for config, cache in ((AUGMENTED, False), (PLAIN, True)):
        batch = next(batches(config, cache=cache, rank=0, world_size=9).steps())
        assert batch.images.shape == (0, 1, 8, 8)
        assert batch.labels.shape == batch.positions.shape == (0,)


@pytest.mark.parametrize("cache_workers", [0, 2])
@pytest.mark.parametrize("config", [PLAIN, AUGMENTED])
def test_cache_changes_nothing_and_reads_each_image_once(config: DataConfig, cache_workers: int) -> None:
    reader = Counting()
    counted = ImageSet(IMAGES.names, IMAGES.labels, reader)
    cached = batches(config, counted, cache=True, workers=cache_workers)
    for _ in range(2):
        assert_same(list(cached.steps()), list(batches(config).steps()))
        assert sorted(reader.reads) == list(range(11))


def test_set_that_does_not_fit_is_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squares, "CACHE_LIMIT", 11 * 64 - 1)
    reader = Counting()
    list(batches(PLAIN, ImageSet(IMAGES.names, IMAGES.labels, reader), cache=True).steps())
    assert len(reader.reads) == 30


def test_random_crops_are_read_each_time() -> None:
    reader = Counting()
    config = PLAIN.model_copy(update={"random_crop": 0.5})
    found = batches(config, ImageSet(IMAGES.names, IMAGES.labels, reader), cache=True)
    assert_same(list(found.steps()), list(batches(config).steps()))
    assert len(reader.reads) == 30


@forks
def test_workers_change_nothing() -> None:
    before = torch.get_rng_state()
    assert_same(list(batches(workers=2).steps(1)), list(batches().steps(1)))
    assert torch.equal(torch.get_rng_state(), before)


@forks
@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_named_without_a_traceback(workers: int) -> None:
    broken = ImageSet(IMAGES.names, IMAGES.labels, Broken())
    with pytest.raises(DataError, match=r"^cannot read image '4'$"):
        list(batches(images=broken, workers=workers).steps())


@pytest.mark.parametrize("augment", [True, False])
def test_training_batches_are_augmented_only_if_asked(augment: bool) -> None:
    order = TrainingOrder(len(IMAGES), 4, 0, 30)
    found = training_batches(IMAGES, AUGMENTED, order, augment=augment, rank=0, world_size=1, seed=5)
    config = AUGMENTED if augment else AUGMENTED.without_augmentation()
    assert_same(list(found.steps(0)), list(batches(config).steps(0)))


@pytest.mark.parametrize(("augment", "workers", "is_cached"), [(True, 0, True), (True, 2, False), (False, 2, True)])
def test_augmenting_workers_share_no_cache(augment: bool, workers: int, is_cached: bool) -> None:
    data = AUGMENTED.model_copy(update={"workers": workers})
    order = TrainingOrder(len(IMAGES), 4, 0, 30)
    found = training_batches(IMAGES, data, order, augment=augment, rank=0, world_size=1, seed=5)
    assert found._squares.is_cached == is_cached


def test_order_for_another_number_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="order should be for 11 images, found one for 10"):
        ImageBatches(
            IMAGES, training_transform(PLAIN), TrainingOrder(10, 2, 0, 4), rank=0, world_size=1, seed=0, cache=False
        )


@pytest.mark.parametrize("world_size", [1, 2, 3, 20])
def test_evaluation_sees_each_image_once_in_order(world_size: int) -> None:
    transform = evaluation_transform(PLAIN)
    parts = [
        batch
        for rank in range(world_size)
        for batch in evaluation_batches(IMAGES, transform, 3, rank=rank, world_size=world_size)
    ]
    assert max(len(batch.positions) for batch in parts) <= 3
    whole = joined(parts)
    assert whole.positions.tolist() == list(range(11))
    assert whole.labels.tolist() == IMAGES.labels.tolist()
    assert torch.equal(whole.images, torch.stack([transform(IMAGES.read(index)) for index in range(11)]))


@forks
def test_workers_change_nothing_in_evaluation() -> None:
    transform = evaluation_transform(PLAIN)
    expected = list(evaluation_batches(IMAGES, transform, 4))
    assert_same(list(evaluation_batches(IMAGES, transform, 4, workers=2)), expected)


def test_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size should be at least 1, found 0"):
        next(evaluation_batches(IMAGES, evaluation_transform(PLAIN), 0))
