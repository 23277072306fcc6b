import numpy as np
import pytest

from vqgen.data.splitting import stratified_split
from vqgen.errors import DataError

NAMES = ("a", "b", "c")


def split(counts: dict[int, int], fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, list[int], list[int]]:
    labels = np.repeat(np.array(list(counts), dtype=np.int64), list(counts.values()))
    labels = np.random.default_rng(5).permutation(labels)
    return labels, *stratified_split(labels, NAMES, fraction, seed)


def test_each_label_gives_its_share_and_the_parts_are_a_partition() -> None:
    labels, train, validation = split({0: 50, 1: 20, 2: 7})
    assert np.bincount(labels[validation]).tolist() == [10, 4, 1]
    assert sorted(train + validation) == list(range(77))
    assert train == sorted(train)
    assert validation == sorted(validation)


def test_split_follows_the_seed() -> None:
    counts = {0: 50, 1: 20, 2: 7}
    assert split(counts, seed=1)[1:] == split(counts, seed=1)[1:]
    assert split(counts, seed=1)[2] != split(counts, seed=2)[2]


def test_draw_of_a_label_does_not_depend_on_other_labels() -> None:
    alone = np.zeros(30, dtype=np.int64)
    beside = np.concatenate([alone, np.ones(9, dtype=np.int64)])
    _, few = stratified_split(alone, ("a",), 0.3, 0)
    _, more = stratified_split(beside, ("a", "b"), 0.3, 0)
    assert few == [index for index in more if index < 30]


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("counts", [{0: 2, 1: 1}, {0: 2, 1: 2, 2: 1}, {0: 100, 1: 3, 2: 1}])
def test_every_label_trains_and_an_image_is_held_out(counts: dict[int, int], fraction: float) -> None:
    labels, train, validation = split(counts, fraction)
    assert set(labels[train]) == set(counts)
    assert len(validation) >= 1


@pytest.mark.parametrize("counts", [{0: 1, 1: 1}, {0: 1, 1: 1, 2: 1}])
def test_labels_with_one_image_each_are_refused(counts: dict[int, int]) -> None:
    # To hold one image out would leave its label without any: it could be sampled, and was never trained.
    with pytest.raises(DataError, match=rf"found {len(counts)} labels with one image each \('a', 'b'.*val/<label>"):
        stratified_split(np.arange(len(counts)), NAMES[: len(counts)], 0.2, 0)


def test_images_without_names_are_one_group() -> None:
    train, validation = stratified_split(np.full(10, -1), (), 0.3, 0)
    assert (len(train), len(validation)) == (7, 3)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"at least 2, one of them for validation; found {count}"):
        stratified_split(np.zeros(count, dtype=np.int64), (), 0.5, 0)
