import pickle

import pytest

from vqgen.errors import DataError
from vqgen.evaluation.enough import TooFewImages, check_count


def test_count_check_names_metric_requirement_reason_and_remedy():
    check_count("metric", 2, 2)
    with pytest.raises(DataError, match=r"metric: should have at least 3 images, why, found 2; take more samples \(--"):
        check_count("metric", 2, 3, "why")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("metric", 0, 1), "it needs at least 1 image, found 0"),
        (("metric", 2, 3, "for 2 neighbours"), "it needs at least 3 images, for 2 neighbours, found 2"),
        (("metric", 1, 2, "", "sample"), "it needs at least 2 samples, found 1"),
    ],
)
def test_reason_has_neither_the_metric_nor_the_remedy(arguments, reason):
    with pytest.raises(TooFewImages) as caught:
        check_count(*arguments)
    assert caught.value.reason == reason
    # Trainings run in processes of their own, which send their errors back.
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.reason) == (str(caught.value), reason)
