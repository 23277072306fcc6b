"""Combinations of several parameters of a test: one of a few is a plain test, and the others carry the marker slow."""

from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest


def combinations(*axes: Iterable[Any], every: int) -> list[Any]:
    """Returns all combinations of the values of the axes, for `pytest.mark.parametrize`.

    Of every `every` neighbours along an axis one is a plain test. Each value of each axis is in one of them.
    """
    values = [list(axis) for axis in axes]
    sets, plain = [], set()
    for places in product(*(range(len(axis)) for axis in values)):
        is_plain = sum(places) % every == 0
        plain.update(enumerate(places) if is_plain else ())
        marks = [] if is_plain else [pytest.mark.slow]
        sets.append(pytest.param(*(axis[place] for axis, place in zip(values, places, strict=True)), marks=marks))
    assert len(plain) == sum(map(len, values)), "a value of an axis is in no plain test: a smaller every"
    return sets
