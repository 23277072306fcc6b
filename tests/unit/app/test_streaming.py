import threading

import pytest

from vqgen.app.streaming import Stopped, streamed


def test_items_come_in_order():
    def work(hand_over):
        for item in range(20):
            hand_over(item)

    assert list(streamed(work)) == list(range(20))


def test_error_of_the_work_reaches_the_reader():
    def work(hand_over):
        hand_over(1)
        raise ValueError("no")

    items = streamed(work)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no"):
        next(items)


def test_reader_that_goes_stops_the_work_within_a_few_items():
    done, ended = [], []

    def work(hand_over):
        try:
            for item in range(1000):
                hand_over(item)
                done.append(item)
        except Stopped:
            ended.append(True)
            raise

    items = streamed(work)
    next(items)
    items.close()
    assert ended == [True]
    assert len(done) <= 4  # the one that was read, two in the queue, one on its way


def test_end_of_the_server_stops_the_work():
    closing = threading.Event()

    def work(hand_over):
        for item in range(1000):
            hand_over(item)

    items = streamed(work, closing)
    next(items)
    closing.set()
    assert len(list(items)) <= 3
