import threading

import pytest
import torch

from vqgen.runtime.prefetching import helping_threads, one_ahead


@pytest.mark.parametrize("count", [0, 1, 5])
def test_items_come_in_order(count):
    assert list(one_ahead(range(count))) == list(range(count))


def test_next_item_is_made_in_a_thread_while_the_current_item_is_used():
    made = []
    is_made = threading.Event()

    def items():
        for number in range(4):
            made.append((number, threading.current_thread()))
            if number == 2:
                is_made.set()
            yield number

    ahead = one_ahead(items())
    assert [next(ahead), next(ahead)] == [0, 1]
    assert is_made.wait(10)  # before it is asked for
    assert next(ahead) == 2
    ahead.close()
    assert [number for number, _ in made] in ([0, 1, 2], [0, 1, 2, 3])  # at most one more than was taken
    assert {thread for _, thread in made} & set(threading.enumerate()) == set()  # one thread, which has ended
    assert len({thread for _, thread in made}) == 1


def test_operations_in_the_thread_use_one_core_and_the_caller_as_many_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert list(one_ahead(torch.get_num_threads() for _ in range(2))) == [1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def threads_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_thread_that_the_caller_starts_later_computes_in_as_many_threads_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert threads_of_a_new_thread() == 3
        with helping_threads(4) as pool:
            together = threading.Barrier(4)  # all four threads of the pool have begun
            assert list(pool.map(lambda _: (together.wait(10), torch.get_num_threads())[1], range(4))) == [1] * 4
            assert threads_of_a_new_thread() == 3
        assert threads_of_a_new_thread() == 3
    finally:
        torch.set_num_threads(before)


def test_error_is_raised_at_its_place():
    def items():
        yield 1
        raise OSError("gone")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)
