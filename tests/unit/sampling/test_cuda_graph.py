"""Padded steps give the codes of the plain sampler, batch after batch."""

import gc
import weakref

import pytest
import torch

from vqgen.sampling import (
    CachedSampler,
    CudaGraphSampler,
    Guide,
    ImageNoise,
    LevelParams,
    PlainSampler,
    cuda_graph,
    fastest_sampler,
)

LABELS = torch.tensor([0, 2, -1])
MODELS = [
    {},
    {"attention_every": 0, "kernel_size": 3, "output_layers": 2},
    {"attention_every": 1, "height": 5, "width": 2},
    {"coarser_height": 3, "coarser_width": 2, "layers": 3},
]


def assert_equal(one, other, atol=1e-10):
    assert torch.equal(one.codes, other.codes)
    assert torch.allclose(one.log_likelihood, other.log_likelihood, rtol=0, atol=atol)


@pytest.mark.parametrize("slope", [1, 2, 3, "raster"])
@pytest.mark.parametrize("changes", MODELS)
@pytest.mark.parametrize("params", [LevelParams(), LevelParams(temperature=0.7, top_k=3), LevelParams(temperature=0.0)])
def test_codes_equal_those_of_the_plain_sampler(make_prior, conditioned, slope, changes, params):
    prior = make_prior(slope=slope, **changes)
    condition = conditioned(prior, len(LABELS))
    plain, graphed = (
        sampler.sample(prior, LABELS, condition, ImageNoise(3, range(3)), params)
        for sampler in (PlainSampler(), CudaGraphSampler())
    )
    assert_equal(plain, graphed)


def test_second_batch_takes_its_own_labels_condition_noise_size_params_and_weights(make_prior, conditioned):
    prior = make_prior(**MODELS[-1])
    sampler = CudaGraphSampler()
    batches = [
        (LABELS, 0, LevelParams()),
        (LABELS.flip(0), 1, LevelParams()),
        (LABELS[:2], 2, LevelParams()),
        (LABELS[:2], 3, LevelParams(temperature=0.5)),
        (LABELS[:2], 3, LevelParams(guidance_scale=2.0)),
    ]
    for change_weights in (False, True):
        for labels, seed, params in batches:
            condition = conditioned(prior, len(labels), seed)
            noise = range(len(labels))
            expected = CachedSampler().sample(prior, labels, condition, ImageNoise(seed, noise), params)
            found = sampler.sample(prior, labels, condition, ImageNoise(seed, noise), params)
            assert_equal(expected, found)
            if change_weights:
                with torch.no_grad():
                    for weight in (prior.output[-1].weight, prior.blocks[0].convolution.weight):
                        weight.add_(0.3 * torch.randn_like(weight))


def test_step_is_recorded_again_only_if_it_does_not_fit(make_prior, monkeypatch):
    prior = make_prior()
    sampler = CudaGraphSampler()
    recorded = []
    record = cuda_graph._PaddedSteps.__init__

    def count(self, *arguments, **options):
        recorded.append(1)
        record(self, *arguments, **options)

    monkeypatch.setattr(cuda_graph._PaddedSteps, "__init__", count)
    for seed in range(3):
        sampler.sample(prior, LABELS, None, ImageNoise(seed, range(3)), LevelParams())
    assert len(recorded) == 1
    sampler.sample(prior, LABELS[:1], None, ImageNoise(0, range(1)), LevelParams())
    assert len(recorded) == 2


def test_recorded_step_keeps_no_model_alive(make_prior):
    prior = make_prior()
    sampler = CudaGraphSampler()
    sampler.sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams())
    reference = weakref.ref(prior)
    del prior
    gc.collect()
    assert reference() is None


def test_codes_survive_the_next_batch_and_can_be_trained_on(make_prior):
    prior = make_prior()
    sampler = CudaGraphSampler()
    first = sampler.sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams())
    before = first.codes.clone(), first.log_likelihood.clone()
    sampler.sample(prior, LABELS, None, ImageNoise(1, range(3)), LevelParams())
    assert torch.equal(first.codes, before[0])
    assert torch.equal(first.log_likelihood, before[1])
    prior(first.codes, LABELS, None).sum().backward()


def test_fastest_sampler_replays_graphs_on_cuda_only():
    assert isinstance(fastest_sampler(torch.device("cuda")), CudaGraphSampler)
    assert isinstance(fastest_sampler(torch.device("cpu")), CachedSampler)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.slow
def test_compiled_steps_give_the_codes_of_the_plain_sampler(make_prior):
    prior = make_prior(slope=2)
    plain, compiled = (
        sampler.sample(prior, LABELS, None, ImageNoise(3, range(3)), LevelParams())
        for sampler in (PlainSampler(), CudaGraphSampler(compile=True))
    )
    assert_equal(plain, compiled)


@pytest.mark.gpu
@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("slope", [1, 2, 3, "raster"])
@pytest.mark.parametrize("changes", MODELS)
@pytest.mark.parametrize(
    "params",
    [
        LevelParams(),
        LevelParams(0.7, 3, 0.9),
        LevelParams(guidance_scale=2.0),
        LevelParams(guidance_scale=2.0, autoguidance_scale=1.5),
    ],
)
def test_replayed_graphs_give_the_codes_of_the_plain_sampler(
    make_prior, make_guide, conditioned, slope, changes, params
):
    prior = make_prior(slope=slope, **changes).cuda()
    labels = LABELS.cuda()
    sampler = CudaGraphSampler()
    early = make_guide(prior, len(labels)).prior
    for seed in range(2):  # the second batch replays the step that the first one recorded
        condition = conditioned(prior, len(labels), seed)
        guide = Guide(early, conditioned(early, len(labels), seed))
        plain, cached, graphed = (
            each.sample(prior, labels, condition, ImageNoise(seed, range(3), labels.device), params, guide)
            for each in (PlainSampler(), CachedSampler(), sampler)
        )
        assert_equal(plain, cached)
        assert_equal(plain, graphed)
