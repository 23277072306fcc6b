"""Recorded maps give the codes of the plain sampler, batch after batch."""

import gc
import weakref
from contextlib import contextmanager

import pytest
import torch
from combinations import combinations

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
from vqgen.sampling.guidance import forward_passes

LABELS = torch.tensor([0, 2, -1])
MODELS = [
    {},
    {"attention_every": 0, "kernel_size": 3, "output_layers": 2},
    {"attention_every": 1, "height": 5, "width": 2},
    {"coarser_height": 3, "coarser_width": 2, "layers": 3},
]
PARAMS = [LevelParams(), LevelParams(temperature=0.7, top_k=3), LevelParams(temperature=0.0)]


@pytest.fixture
def recorded(monkeypatch):
    """Lists the number of images of each map that is recorded."""
    images = []
    record = cuda_graph._RecordedMap.__init__

    def count(self, passes, *arguments, **options):
        images.append(len(passes[0].labels) // passes[0].copies)
        record(self, passes, *arguments, **options)

    monkeypatch.setattr(cuda_graph._RecordedMap, "__init__", count)
    return images


def assert_equal(one, other, atol=1e-10):
    assert torch.equal(one.codes, other.codes)
    assert torch.allclose(one.log_likelihood, other.log_likelihood, rtol=0, atol=atol)


def draw(sampler, prior, labels=LABELS, seed=0, params=LevelParams(), condition=None, guide=None):  # noqa: B008
    noise = ImageNoise(seed, range(len(labels)), labels.device)
    return sampler.sample(prior, labels, condition, noise, params, guide)


@pytest.mark.parametrize(("slope", "changes", "params"), combinations([1, 2, 3, "raster"], MODELS, PARAMS, every=3))
def test_codes_equal_those_of_the_plain_sampler(make_prior, conditioned, recorded, slope, changes, params):
    prior = make_prior(slope=slope, **changes)
    sampler = CudaGraphSampler()
    for seed in (3, 3, 4):  # without a graph, recorded, replayed
        condition = conditioned(prior, len(LABELS), seed)
        plain, graphed = (draw(each, prior, LABELS, seed, params, condition) for each in (PlainSampler(), sampler))
        assert_equal(plain, graphed)
    assert recorded == [3]


@pytest.mark.parametrize("changes", [{}, {"height": 40, "width": 31}])
def test_codes_are_exactly_those_of_the_cached_sampler(make_prior, recorded, changes):
    """The noise of a map of 1,240 positions is drawn in three chunks."""
    prior = make_prior(layers=1, attention_every=0, output_layers=0, **changes)
    sampler = CudaGraphSampler()
    for seed in range(3):
        cached, graphed = (draw(each, prior, LABELS[:2], seed) for each in (CachedSampler(), sampler))
        assert_equal(cached, graphed, atol=0)
    assert recorded == [2]


def test_second_batch_takes_its_own_labels_condition_noise_size_params_and_weights(make_prior, conditioned, recorded):
    prior = make_prior(**MODELS[-1])
    sampler = CudaGraphSampler()
    batches = [
        (LABELS, 0, LevelParams()),
        (LABELS.flip(0), 1, LevelParams()),
        (LABELS[[2, 0, 1]], 1, LevelParams()),
        (LABELS[:2], 2, LevelParams()),
        (LABELS[:2], 3, LevelParams(temperature=0.5)),
        (LABELS[:2], 4, LevelParams(temperature=0.5)),
        (LABELS[:2], 3, LevelParams(guidance_scale=2.0)),
        (LABELS[1:], 4, LevelParams(guidance_scale=2.0)),
    ]
    for change_weights in (False, True):
        for labels, seed, params in batches:
            condition = conditioned(prior, len(labels), seed)
            expected, found = (
                draw(each, prior, labels, seed, params, condition) for each in (CachedSampler(), sampler)
            )
            assert_equal(expected, found)
            if change_weights:
                with torch.no_grad():
                    for weight in (prior.output[-1].weight, prior.blocks[0].convolution.weight):
                        weight.add_(0.3 * torch.randn_like(weight))
    assert recorded == [3, 2, 2]  # no two batches in a row have the same weights in the second round


def test_second_equal_batch_in_a_row_is_recorded_once(make_prior, recorded):
    prior = make_prior()
    sampler = CudaGraphSampler()
    draw(sampler, prior)
    assert recorded == []
    for seed in range(3):
        draw(sampler, prior, seed=seed)
    assert recorded == [3]


def test_smaller_last_batches_of_requests_leave_the_recorded_map(make_prior, recorded):
    prior = make_prior()
    sampler = CudaGraphSampler()
    for _ in range(3):
        for labels in (LABELS, LABELS, LABELS[:1]):
            assert_equal(draw(CachedSampler(), prior, labels), draw(sampler, prior, labels))
    assert recorded == [3]
    for _ in range(3):
        draw(sampler, prior, LABELS[:1])
    assert recorded == [3, 1]


def test_each_prior_has_a_map_of_its_own(make_prior, recorded):
    priors = [make_prior(), make_prior(height=5)]
    sampler = CudaGraphSampler()
    for seed in range(4):
        for prior in priors:
            assert_equal(draw(CachedSampler(), prior, seed=seed), draw(sampler, prior, seed=seed))
    assert recorded == [3, 3]


def test_map_of_too_many_kernels_is_sampled_without_a_graph(make_prior, recorded, monkeypatch):
    prior = make_prior()
    monkeypatch.setattr(cuda_graph, "MOST_GRAPH_BYTES", cuda_graph.graph_bytes(prior.config))
    draws = [draw(sampler, prior) for sampler in [CudaGraphSampler()] * 3]
    assert recorded == [3]
    monkeypatch.setattr(cuda_graph, "MOST_GRAPH_BYTES", cuda_graph.graph_bytes(prior.config) - 1)
    draws += [draw(sampler, prior) for sampler in [CudaGraphSampler()] * 3]
    assert recorded == [3]
    for each in draws[1:]:
        assert_equal(draws[0], each)


def test_recorded_map_keeps_no_model_alive(make_prior, recorded):
    prior = make_prior()
    sampler = CudaGraphSampler()
    for _ in range(2):
        draw(sampler, prior)
    assert recorded == [3]
    reference = weakref.ref(prior)
    del prior
    gc.collect()
    assert reference() is None


def test_codes_survive_the_next_batch_and_can_be_trained_on(make_prior):
    prior = make_prior()
    sampler = CudaGraphSampler()
    first = [draw(sampler, prior) for _ in range(2)][1]
    before = first.codes.clone(), first.log_likelihood.clone()
    draw(sampler, prior, seed=1)
    assert torch.equal(first.codes, before[0])
    assert torch.equal(first.log_likelihood, before[1])
    prior(first.codes, LABELS, None).sum().backward()


@pytest.mark.usefixtures("unchecked_annotations")
def test_all_steps_are_recorded_once_on_one_stream_of_their_device(make_prior, monkeypatch):
    """CUDA is a stand-in that lists its calls, because most machines have no GPU."""
    prior = make_prior()
    passes = forward_passes(prior, LABELS, None, LevelParams(), None)
    calls = []

    class Graph:
        def replay(self):
            calls.append("replay")

    @contextmanager
    def record(graph, stream):
        calls.append(("begin", type(graph), stream))
        yield
        calls.append("end")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: (str(device), object()))
    cuda_graph._recording_stream.cache_clear()
    with torch.no_grad():
        made = cuda_graph._RecordedMap(passes, LevelParams(), None)
        monkeypatch.setattr(made._steps, "run", lambda *buffers: calls.append(buffers[1:]))
        replay = made._record(torch.device("cuda", 1))
        made._record(torch.device("cuda", 1))
    cuda_graph._recording_stream.cache_clear()
    assert calls[:3] == [("begin", Graph, calls[0][2]), (made._codes, made._log_likelihood, None), "end"]
    assert calls[0][2][0] == "cuda:1"
    assert calls[3][2] is calls[0][2]
    replay()
    assert calls[6:] == ["replay"]


def test_fastest_sampler_replays_graphs_on_cuda_only():
    assert isinstance(fastest_sampler(torch.device("cuda")), CudaGraphSampler)
    assert isinstance(fastest_sampler(torch.device("cpu")), CachedSampler)


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
    make_prior, make_guide, conditioned, recorded, slope, changes, params
):
    prior = make_prior(slope=slope, **changes).cuda()
    labels = LABELS.cuda()
    sampler = CudaGraphSampler()
    early = make_guide(prior, len(labels)).prior
    for seed in range(4):  # without a graph, recorded, replayed twice
        condition = conditioned(prior, len(labels), seed)
        guide = Guide(early, conditioned(early, len(labels), seed))
        plain, cached, graphed = (
            draw(each, prior, labels, seed, params, condition, guide)
            for each in (PlainSampler(), CachedSampler(), sampler)
        )
        assert_equal(plain, cached)
        assert_equal(plain, graphed)
    assert recorded == [3]


@pytest.mark.gpu
@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_graphs_are_recorded_on_the_device_of_the_prior(make_prior):
    for number in (0, 1):
        device = torch.device("cuda", number)
        prior = make_prior().to(device)
        sampler = CudaGraphSampler()
        for seed in range(3):
            plain, graphed = (draw(each, prior, LABELS.to(device), seed) for each in (PlainSampler(), sampler))
            assert_equal(plain, graphed)
