from collections import Counter

import numpy as np
import pytest

from vqgen.data import TrainingOrder


def stream(order: TrainingOrder) -> tuple[list[int], list[int]]:
    positions: list[int] = []
    indices: list[int] = []
    for step in range(order.num_steps):
        more_positions, more_indices = order.batch(step)
        positions += more_positions
        indices += more_indices
    return positions, indices


@pytest.mark.parametrize(("num_images", "batch_size", "total"), [(10, 4, 40), (10, 4, 37), (7, 20, 64), (3, 1, 3)])
def test_epochs_are_permutations_end_to_end(num_images: int, batch_size: int, total: int) -> None:
    order = TrainingOrder(num_images, batch_size, 0, total)
    positions, indices = stream(order)
    assert order.num_steps == -(-total // batch_size)
    assert positions == list(range(total))
    for start in range(0, total, num_images):
        epoch = indices[start : start + num_images]
        assert max(Counter(epoch).values()) == 1
        if start + num_images <= total:
            assert sorted(epoch) == list(range(num_images))


def test_epochs_and_seeds_differ() -> None:
    _, first = stream(TrainingOrder(50, 10, 0, 100))
    _, other = stream(TrainingOrder(50, 10, 1, 100))
    assert first[:50] != first[50:]
    assert first != other


def test_stream_does_not_depend_on_the_batch_size() -> None:
    assert stream(TrainingOrder(50, 7, 0, 120)) == stream(TrainingOrder(50, 64, 0, 120))


def test_last_batch_is_partial() -> None:
    order = TrainingOrder(10, 4, 0, 10)
    assert [len(order.batch(step)[0]) for step in range(order.num_steps)] == [4, 4, 2]


def test_step_is_the_same_after_a_restart_and_in_any_sequence() -> None:
    order = TrainingOrder(13, 5, 3, 100)
    forward = [order.batch(step) for step in range(order.num_steps)]
    assert [TrainingOrder(13, 5, 3, 100).batch(step) for step in range(order.num_steps)] == forward
    for step in (15, 0, 7, 7, 19, 2):
        assert order.batch(step) == forward[step]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_shares_joined_are_the_batch(world_size: int) -> None:
    order = TrainingOrder(13, 5, 3, 28)
    for step in range(order.num_steps):
        shares = [order.share(step, rank, world_size) for rank in range(world_size)]
        positions, indices = order.batch(step)
        assert [position for share in shares for position in share[0]] == positions
        assert [index for share in shares for index in share[1]] == indices
        sizes = [len(share[0]) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_results_are_plain_integers() -> None:
    positions, indices = TrainingOrder(5, 2, 0, 4).batch(0)
    assert {type(value) for value in positions + indices} == {int}


def test_permutation_is_cached_while_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made.append(seed) or make(seed))
    stream(TrainingOrder(100, 8, 0, 300))
    assert len(made) == 3


@pytest.mark.parametrize("step", [-1, 3])
def test_step_out_of_range_is_refused(step: int) -> None:
    with pytest.raises(IndexError, match=rf"in \[0, 3\), found {step}"):
        TrainingOrder(10, 4, 0, 10).batch(step)


@pytest.mark.parametrize("name", ["num_images", "batch_size", "total_images"])
def test_size_of_zero_is_refused(name: str) -> None:
    sizes = {"num_images": 3, "batch_size": 3, "total_images": 3, name: 0}
    with pytest.raises(ValueError, match=f"{name} should be at least 1, found 0"):
        TrainingOrder(**sizes, seed=0)
