import math

import pytest
import torch

from vqgen.runtime.randomness import derive_seed
from vqgen.sampling import ImageNoise


def test_image_has_the_same_draws_in_any_batch():
    together = ImageNoise(7, range(5))
    alone = [ImageNoise(7, [index]) for index in range(5)]
    backwards = ImageNoise(7, [4, 3, 2, 1, 0])
    for positions, codes in [(1, 3), (4, 3), (2, 100)]:  # steps of one level, then of another
        draws = together.of_level(positions, codes).gumbel(positions)
        assert draws.shape == (5, positions, codes)
        assert draws.dtype == torch.float64
        assert torch.equal(draws, torch.cat([noise.of_level(positions, codes).gumbel(positions) for noise in alone]))
        assert torch.equal(draws, backwards.of_level(positions, codes).gumbel(positions).flip(0))


def test_draws_are_those_of_a_generator_seeded_for_the_image():
    generator = torch.Generator().manual_seed(derive_seed(3, "image", 11))
    uniform = torch.rand(6, 4, generator=generator, dtype=torch.float64)
    noise = ImageNoise(3, [11])
    draws = torch.cat([noise.of_level(2, 4).gumbel(2), noise.of_level(4, 4).gumbel(4)], dim=1)[0]
    assert torch.allclose(draws, -torch.log(-torch.log(uniform)))


def test_every_seed_and_image_has_other_draws():
    each = [ImageNoise(seed, [index]).of_level(1, 2) for seed in range(3) for index in range(3)]
    draws = torch.cat([noise.gumbel(1).flatten() for noise in each])
    assert len(set(draws.tolist())) == 18


def test_draws_of_a_level_may_be_cut_into_any_steps():
    whole = ImageNoise(5, [0, 1]).of_level(1300, 3).gumbel(1300)
    level = ImageNoise(5, [0, 1]).of_level(1300, 3)
    assert torch.equal(whole, torch.cat([level.gumbel(size) for size in (1, 600, 0, 511, 188)], dim=1))
    with pytest.raises(ValueError, match="num_positions should be at most 0, found 1"):
        level.gumbel(1)


def test_global_generator_is_left_alone():
    state = torch.get_rng_state()
    ImageNoise(0, [0]).of_level(2, 3).gumbel(2)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_are_standard_gumbel():
    draws = ImageNoise(0, [0]).of_level(100, 1000).gumbel(100).flatten().sort().values
    assert draws.isfinite().all()
    cumulative = torch.exp(-torch.exp(-draws))
    distance = (cumulative - torch.arange(1, 100_001) / 100_000).abs().max().item()
    # Kolmogorov-Smirnov: P(distance > x) < 2 exp(-2 n x^2) = 2 exp(-32) = 3 x 10^-14 over all seeds.
    assert distance < math.sqrt(16 / 100_000)
    assert draws.mean().item() == pytest.approx(0.5772, abs=0.03)
