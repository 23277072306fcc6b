"""The steps that all samplers share: the draw of a code, the mode of the models, the order of the grid."""

import pytest
import torch

from vqgen.sampling import CachedSampler, CudaGraphSampler, ImageNoise, LevelParams, PlainSampler, Sampler
from vqgen.sampling.sampler import autocast_dtype, choose, evaluation, to_grid

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "params", [LevelParams(), LevelParams(temperature=0.5), LevelParams(top_k=3), LevelParams(top_p=0.8)]
)
def test_frequencies_of_gumbel_max_are_the_filtered_probabilities(params):
    count = 40_000
    logits = torch.tensor([0.5, -1.0, 1.5, 0.0, 1.0], dtype=torch.float64)
    gumbel = ImageNoise(1, [0]).of_level(count, 5).gumbel(count)
    codes, log_likelihood = choose([logits.expand(1, count, 5)], gumbel, params)
    observed = torch.bincount(codes.flatten(), minlength=5).double() / count
    expected = params.apply(logits).softmax(-1)
    assert (observed[expected == 0] == 0).all()
    # Hoeffding: a frequency is off by 0.015 with probability below 2 exp(-2 x 40,000 x 0.015^2) = 3 x 10^-8, one
    # of five with 2 x 10^-7, over all seeds.
    assert (observed - expected).abs().max() < 0.015
    assert log_likelihood.sum().item() == pytest.approx(logits.log_softmax(-1)[codes].sum().item(), abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_restores_the_modes_after_an_error_too(make_prior, training):
    one = make_prior().train(training)
    other = make_prior().train(not training)
    with pytest.raises(RuntimeError, match="stop"), evaluation(one, other):
        assert not one.training
        assert not other.training
        assert not torch.is_grad_enabled()
        raise RuntimeError("stop")
    assert torch.is_grad_enabled()
    assert one.training is training
    assert other.training is not training


@pytest.mark.parametrize("slope", [1, 2, "raster"])
def test_codes_in_order_time_return_to_their_places(make_prior, slope):
    prior = make_prior(slope=slope)
    grid = torch.randint(5, (2, prior.order.height, prior.order.width))
    in_order_time = torch.cat([grid.flatten(1)[:, torch.from_numpy(step)] for step in prior.order.steps()], dim=1)
    assert torch.equal(to_grid(prior, in_order_time), grid)


def test_autocast_dtype_is_that_of_the_region():
    assert autocast_dtype(CPU) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert autocast_dtype(CPU) == torch.bfloat16


@pytest.mark.parametrize("kind", [PlainSampler, CachedSampler, CudaGraphSampler])
def test_every_sampler_has_the_interface(kind):
    assert isinstance(kind(), Sampler)
