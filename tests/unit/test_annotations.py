"""The check of annotations at run time, on which the other tests rely."""

import jaxtyping
import pytest
import torch
from annotations import CHECKS, check_again

from vqgen.nn.axes import BATCH_FIRST, at_every_position

_WRONG = torch.zeros(3)


def test_wrong_shape_is_refused():
    with pytest.raises(jaxtyping.TypeCheckError):
        at_every_position(_WRONG, BATCH_FIRST)


def test_loop_is_checked_at_its_beginning_and_the_next_test_from_its_own():
    for _ in range(CHECKS):
        at_every_position(torch.zeros(1, 2), BATCH_FIRST)
    at_every_position(_WRONG, BATCH_FIRST)
    check_again()
    with pytest.raises(jaxtyping.TypeCheckError):
        at_every_position(_WRONG, BATCH_FIRST)
