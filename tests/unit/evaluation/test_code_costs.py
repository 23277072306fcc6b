import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from codec_models import random_codes
from hypothesis import given, settings
from hypothesis import strategies as st

from vqgen.codec import Coder, ideal_bits
from vqgen.evaluation.code_costs import CodeCosts, context_bits, histogram_bits


def grid(*rows):
    return np.array(rows, dtype=np.int64)


def naive_context_bits(grids, codebook_size):
    """The definition, code by code: counts that grow, in four contexts of 0 to 3 neighbours."""
    counts = [defaultdict(Counter) for _ in range(4)]
    bits = 0.0
    for codes in grids:
        for row, column in np.ndindex(codes.shape):
            places = [(row, column - 1), (row - 1, column), (row - 1, column - 1)]
            around = tuple(int(codes[r, c]) if r >= 0 and c >= 0 else -1 for r, c in places)
            probability = 1 / codebook_size
            for order in range(4):
                seen = counts[order][around[:order]]
                if total := sum(seen.values()):
                    share = seen[int(codes[row, column])] + len(seen) * probability
                    probability = share / (total + len(seen))
            bits -= math.log2(probability)
            for order in range(4):
                counts[order][around[:order]][int(codes[row, column])] += 1
    return bits


@given(
    st.integers(2, 5),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_context_bits_are_those_of_counting_code_by_code(size, shapes, seed):
    rng = np.random.default_rng(seed)
    grids = [rng.integers(0, size, shape) for shape in shapes]
    assert context_bits(grids, size) == pytest.approx(naive_context_bits(grids, size))


@pytest.mark.parametrize(("shapes", "size"), [([(2, 2)], 3), ([(1, 5)], 3), ([(1, 2), (2, 1)], 3), ([(3, 3)], 2)])
def test_probabilities_of_all_codes_sum_to_one(shapes, size):
    # Every grid of this size there is: a sum above 1 would be a code that no decoder can read.
    total = 0.0
    lengths = [height * width for height, width in shapes]
    for codes in itertools.product(range(size), repeat=sum(lengths)):
        parts = np.split(np.array(codes, dtype=np.int64), np.cumsum(lengths)[:-1])
        grids = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        total += 2 ** -context_bits(grids, size)
    assert total == pytest.approx(1)


def test_first_code_costs_as_much_as_any():
    assert context_bits([grid([5])], 64) == pytest.approx(6)


def test_second_equal_code_is_blended_with_the_first():
    # Seen once, so one code and one different one: (1 + 1/4) / (1 + 1). Its left neighbour has not been seen before.
    assert context_bits([grid([2, 2])], 4) == pytest.approx(2 - math.log2((1 + 1 / 4) / 2))


def test_repetition_is_nearly_free_and_noise_is_not():
    flat = np.zeros((64, 64), dtype=np.int64)
    noise = np.random.default_rng(0).integers(0, 16, (64, 64))
    assert context_bits([flat], 16) / flat.size < 0.01
    assert context_bits([noise], 16) / noise.size > 4
    # Stripes have the entropy of a coin, and no surprise for one who sees the neighbour above.
    stripes = np.broadcast_to(np.random.default_rng(1).integers(0, 2, 64), (64, 64)).copy()
    assert context_bits([stripes], 2) / stripes.size < 0.1
    assert histogram_bits(stripes.ravel()) / stripes.size > 0.9


def test_later_pictures_profit_from_earlier_ones():
    codes = np.random.default_rng(2).integers(0, 4, (1, 12)).repeat(12, axis=0)
    assert context_bits([codes, codes], 16) < 1.5 * context_bits([codes], 16)


@pytest.mark.parametrize(
    ("codes", "bits"),
    [([3], 0), ([1, 1, 1], 0), ([0, 1], 2), ([0, 1, 2, 3], 8), ([0, 0, 0, 7], 4 * 0.8112781244591328)],
)
def test_histogram_bits_are_the_entropy_of_the_counts(codes, bits):
    assert histogram_bits(np.array(codes, dtype=np.int64)) == pytest.approx(bits)


def test_costs_of_a_level_are_bits_per_code(codec):
    images = [random_codes(codec, 24, 16, seed=seed, label=seed) for seed in range(2)]
    costs = CodeCosts(codec.models)
    for each in images:
        costs.add(each)
    found = costs.levels()
    assert list(found) == ["top", "bottom"]
    for level, cost in found.items():
        grids = [each.grids[level] for each in images]
        count = sum(each.size for each in grids)
        assert cost.codes == count
        assert cost.packed == 4
        assert cost.histogram == pytest.approx(histogram_bits(np.concatenate([each.ravel() for each in grids])) / count)
        assert cost.context == pytest.approx(context_bits(grids, 16) / count)
        for coder, bits in ((Coder.STATIC, cost.static), (Coder.PRIOR, cost.prior)):
            total = sum(ideal_bits(codec.models, each, level, coder, each.shape.label) for each in images)
            assert bits == pytest.approx(total / count)


def test_models_that_are_absent_or_not_asked_for_have_no_cost(codec):
    codec.parts.frequencies = {}
    costs = CodeCosts(codec.models, with_prior=False)
    assert costs.levels() == {}
    costs.add(random_codes(codec, 8, 8))
    assert [(cost.static, cost.prior) for cost in costs.levels().values()] == [(None, None)] * 2
