import pickle

import pytest

from vqgen import errors
from vqgen.errors import Interrupted, VQGenError


@pytest.mark.parametrize(
    "kind", ["ConfigError", "DataError", "ReadError", "CheckpointError", "BitstreamError", "ProcessError"]
)
def test_errors_of_a_user_are_caught_as_one_kind_and_alike_in_every_process(kind):
    with pytest.raises(VQGenError, match="steps: should be at least 1, found 0") as caught:
        raise getattr(errors, kind)("steps: should be at least 1, found 0")
    assert caught.value.alike


def test_interruption_passes_a_broad_except_and_knows_its_signal():
    with pytest.raises(Interrupted, match="stopped by signal 15") as caught:
        try:
            raise Interrupted(15)
        except Exception:
            pytest.fail("an interruption should not be swallowed")
    assert caught.value.signal_number == 15


def test_interruption_keeps_its_signal_on_the_way_to_another_process():
    assert pickle.loads(pickle.dumps(Interrupted(15))).signal_number == 15
