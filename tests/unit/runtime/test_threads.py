import pytest
import torch
from torch import nn

from vqgen.runtime.threads import (
    MULTIPLICATIONS_PER_THREAD,
    computing_threads,
    exact_threads,
    fix_threads,
    fixed_threads,
    layers_of,
    threads_for,
    threads_for_work,
    threads_of_model,
)


@pytest.fixture(autouse=True)
def four_cores(set_cores):
    set_cores(4)


@pytest.mark.parametrize(("shares", "expected"), [(0, 1), (0.5, 1), (1.9, 1), (2, 2), (3.5, 3), (4, 4), (1000, 4)])
def test_threads_grow_with_the_work_up_to_those_of_torch(shares, expected):
    assert threads_for_work(shares * MULTIPLICATIONS_PER_THREAD) == expected


def test_container_has_a_thread_for_each_of_its_cores(monkeypatch):
    monkeypatch.setattr("vqgen.runtime.threads.available_cores", lambda: 2)
    assert threads_for_work(1e18) == 2
    torch.set_num_threads(1)  # fewer, as the user may choose by OMP_NUM_THREADS
    assert threads_for_work(1e18) == 1


def test_work_is_rows_times_the_weights_of_an_average_layer():
    model = nn.Sequential(nn.Linear(1000, 1000), nn.LayerNorm(1000), nn.Linear(1000, 1000, bias=False))
    assert layers_of(model) == 2
    rows = 3 * MULTIPLICATIONS_PER_THREAD / 1e6
    assert threads_for(rows, model, nn.Linear(2, 2)) == 3  # the largest model counts
    assert threads_for(rows) == 1
    assert threads_for(rows, nn.LayerNorm(1000)) == 1  # no matrix: the weights count as those of one layer


def test_block_computes_in_its_threads_and_restores_the_number():
    with computing_threads(2):
        assert torch.get_num_threads() == 2
        assert threads_for_work(1e18) == 2  # a part of a computation has at most its threads
    assert torch.get_num_threads() == 4
    with pytest.raises(KeyError), computing_threads(1):
        raise KeyError
    assert torch.get_num_threads() == 4


def test_fixed_threads_overrule_the_work():
    fix_threads(3)
    assert threads_for_work(0) == 3
    with computing_threads(1):
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("error", [None, KeyError])
def test_threads_fixed_in_a_block_are_free_after_it(error):
    try:
        with fixed_threads(3):
            assert threads_for_work(0) == 3
            if error:
                raise error
    except KeyError:
        pass
    assert torch.get_num_threads() == 4
    assert threads_for_work(0) == 1


def test_exact_threads_overrule_fixed_ones():
    fix_threads(3)
    with exact_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 3


def test_model_computes_in_the_threads_of_its_work():
    model = nn.Linear(1000, 1000)
    with threads_of_model(2.5 * MULTIPLICATIONS_PER_THREAD / 1e6, model):
        assert torch.get_num_threads() == 2
    with threads_of_model(1, model.to("meta")):  # the threads of the CPU do not matter for another device
        assert torch.get_num_threads() == 4
