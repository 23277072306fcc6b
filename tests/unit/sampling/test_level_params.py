import itertools
import math

import pytest
import torch

from vqgen.errors import ConfigError
from vqgen.sampling import LevelParams

LOGITS = [
    [0.3, -1.0, 2.0, 0.3, -4.0],
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [1.0, 5.0, 5.0, 1.0, 5.0],
    [-800.0, 700.0, 0.0, 1.0, 2.0],
    [math.log(p) for p in (0.125, 0.5, 0.25, 0.0625, 0.0625)],
]


def naive(logits, temperature, top_k, top_p):
    """Returns code -> its probability, by the definition of the parameters."""
    ranked = sorted(range(len(logits)), key=lambda code: (-logits[code], code))
    if temperature == 0:
        return {ranked[0]: 1.0}
    kept = ranked[:top_k]
    weights = {code: math.exp((logits[code] - logits[ranked[0]]) / temperature) for code in kept}
    total = math.fsum(weights.values())
    probabilities = {code: weight / total for code, weight in weights.items()}
    if top_p is not None:
        for size in range(1, len(kept) + 1):
            if math.fsum(probabilities[code] for code in kept[:size]) >= top_p:
                break
        total = math.fsum(probabilities[code] for code in kept[:size])
        probabilities = {code: probabilities[code] / total for code in kept[:size]}
    return probabilities


@pytest.mark.parametrize("temperature", [0.0, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [None, 1, 2, 3, 4, 5, 6, 1000])
@pytest.mark.parametrize("top_p", [None, 1e-9, 0.2, 0.45, 0.7, 0.95, 1.0])
def test_every_combination_follows_the_definition(temperature, top_k, top_p):
    filtered = LevelParams(temperature, top_k, top_p).apply(torch.tensor(LOGITS, dtype=torch.float64))
    for row, logits in zip(filtered.softmax(-1), LOGITS, strict=True):
        expected = naive(logits, temperature, top_k, top_p)
        assert row.tolist() == pytest.approx([expected.get(code, 0.0) for code in range(5)], abs=1e-12)


def test_top_p_stops_exactly_at_its_probability():
    logits = torch.tensor([0.125, 0.5, 0.25, 0.0625, 0.0625], dtype=torch.float64).log()
    kept = [
        LevelParams(top_p=p).apply(logits).isfinite().tolist()
        for p in (0.1, 0.499, 0.51, 0.749, 0.76, 0.874, 0.876, 0.93)
    ]
    assert [sum(row) for row in kept] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert kept[-1] == [True, True, True, True, False]  # of the two equally likely codes the lower one


@pytest.mark.parametrize(("top_k", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 4]), (4, [0, 1, 2, 4])])
def test_top_k_keeps_exactly_k_and_the_lower_of_equals(top_k, expected):
    kept = LevelParams(top_k=top_k).apply(torch.tensor(LOGITS[2])).isfinite()
    assert kept.nonzero().flatten().tolist() == expected


def test_defaults_change_no_probability():
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    assert torch.allclose(LevelParams().apply(logits).softmax(-1), logits.softmax(-1), atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_position_keeps_a_code(dtype):
    torch.manual_seed(0)
    logits = (100 * torch.randn(2, 50, 17)).to(dtype)
    before = logits.clone()
    for temperature, top_k, top_p in itertools.product([0.0, 1e-300, 1e-6, 1.0, 1e6], [None, 1, 5], [None, 1e-12, 0.9]):
        filtered = LevelParams(temperature, top_k, top_p).apply(logits)
        assert filtered.shape == logits.shape
        assert filtered.dtype == torch.float64
        assert not filtered.isnan().any()
        assert (filtered.amax(-1) > -math.inf).all()
        assert torch.equal(filtered.argmax(-1), logits.argmax(-1))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("temperature", [-1.0, -1e-9, math.inf, math.nan])
def test_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(ConfigError, match=f"temperature: should be (at least 0|a finite number), found {temperature}"):
        LevelParams(temperature=temperature)


@pytest.mark.parametrize("top_k", [0, -3])
def test_top_k_out_of_range_is_refused(top_k):
    with pytest.raises(ConfigError, match=f"top_k: should be at least 1 .*, found {top_k}"):
        LevelParams(top_k=top_k)


@pytest.mark.parametrize("top_p", [0.0, -0.1, 1.01, math.nan])
def test_top_p_out_of_range_is_refused(top_p):
    with pytest.raises(ConfigError, match=f"top_p: should be .*, found {top_p}"):
        LevelParams(top_p=top_p)


@pytest.mark.parametrize("scale", [-0.1, math.inf, math.nan])
@pytest.mark.parametrize("name", ["guidance_scale", "autoguidance_scale"])
def test_scale_out_of_range_is_refused(scale, name):
    with pytest.raises(ConfigError, match=f"^{name}: should be (at least 0|a finite number), found {scale}"):
        LevelParams(**{name: scale})
