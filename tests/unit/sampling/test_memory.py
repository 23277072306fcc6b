import pytest
import torch

from vqgen.errors import ConfigError
from vqgen.sampling import CachedSampler, ImageNoise, LevelParams, bytes_per_image, images_that_fit, weights_read
from vqgen.sampling.cached_layers import Linear
from vqgen.sampling.cached_network import Conditioning
from vqgen.sampling.cuda_graph import _RecordedMap
from vqgen.sampling.guidance import forward_passes
from vqgen.sampling.memory import graph_bytes
from vqgen.sampling.row_product import RowProduct
from vqgen.sampling.step_evaluator import StepEvaluator


def test_images_that_fit_are_the_largest_number(make_prior):
    configs = [make_prior(height=side, width=side).config for side in (3, 9)]
    needed = max(map(bytes_per_image, configs))
    memory = 10**6
    images = images_that_fit(configs, memory)
    assert images * needed <= 0.8 * memory < (images + 1) * needed


def test_memory_grows_with_the_grid_and_the_layers(make_prior):
    sizes = [bytes_per_image(make_prior(**changes).config) for changes in ({}, {"layers": 4}, {"height": 30})]
    assert sizes == sorted(sizes)
    assert bytes_per_image(make_prior().config, 8) > bytes_per_image(make_prior().config, 4)


def test_memory_of_all_recorded_levels_and_of_another_batch_counts(make_prior):
    configs = [make_prior(height=side, width=side).config for side in (3, 9)]
    memory = 10**8
    assert images_that_fit(configs, memory) == int(0.8 * memory) // max(map(bytes_per_image, configs))
    needed = [bytes_per_image(config, records=True) for config in configs]
    graphs = sum(map(graph_bytes, configs))
    expected = (int(0.8 * memory) - graphs) // (sum(needed) + max(needed))
    assert images_that_fit(configs, memory, holds_memory=True) == expected
    for config, recorded in zip(configs, needed, strict=True):
        noise = config.height * config.width * config.codebook_size * 8
        assert recorded == bytes_per_image(config) + noise


def test_graph_has_at_most_the_memory_of_the_largest_one(make_prior, monkeypatch):
    config = make_prior().config
    memory = 10**8
    fitting = images_that_fit([config], memory, holds_memory=True)
    monkeypatch.setattr("vqgen.sampling.memory.MOST_GRAPH_BYTES", graph_bytes(config) // 2)
    more = images_that_fit([config], memory, holds_memory=True)
    spared = (graph_bytes(config) - graph_bytes(config) // 2) // (2 * bytes_per_image(config, records=True))
    assert abs(more - fitting - spared) <= 1


def test_kernels_of_a_graph_need_more_memory_with_an_old_driver(make_prior, monkeypatch):
    config = make_prior().config
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    sizes = []
    for driver in (12030, 12040):
        monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: driver, raising=False)  # noqa: B023
        sizes.append(graph_bytes(config))
    assert sizes[0] == 16 * sizes[1]


def test_memory_below_one_image_is_refused(make_prior):
    with pytest.raises(ConfigError, match=r"max_memory: should be at least .* MB, which one image takes, found 0.001"):
        images_that_fit([make_prior().config], 1000)


def test_batch_that_is_evaluated_twice_takes_twice_the_memory(make_prior):
    config = make_prior().config
    memory = 100 * bytes_per_image(config)
    assert images_that_fit([config], memory, copies=2) == images_that_fit([config], memory) // 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_every": 0, "kernel_size": 3, "output_layers": 2},
        {"attention_every": 1},
        {"coarser_height": 3, "coarser_width": 2, "layers": 3},
    ],
)
@pytest.mark.parametrize("slope", [2, "raster"])
def test_stated_memory_covers_the_caches_and_is_at_most_twice_as_much(
    make_prior, conditioned, bytes_of, slope, changes
):
    prior = make_prior(slope=slope, **(changes | {"height": 12, "width": 12, "channels": 32})).eval()
    b = 8
    sizes = []
    with torch.no_grad():
        for count in (b, 2 * b):  # the difference is free of the weights
            labels = torch.zeros(count, dtype=torch.int64)
            evaluator = StepEvaluator(prior, labels, conditioned(prior, count))
            evaluator.logits(0)
            sizes.append(bytes_of(evaluator))
    cached = (sizes[1] - sizes[0]) / b
    assert cached <= bytes_per_image(prior.config, 8) <= 2 * cached


def test_stated_memory_covers_the_buffers_of_a_recorded_map_and_is_at_most_twice_as_much(make_prior, bytes_of):
    prior = make_prior(height=12, width=12, channels=32, codebook_size=64).eval()
    b = 8
    sizes = []
    with torch.no_grad():
        for count in (b, 2 * b):
            passes = forward_passes(prior, torch.zeros(count, dtype=torch.int64), None, LevelParams(), None)
            recorded = _RecordedMap(passes, LevelParams(), None)
            recorded.run(ImageNoise(0, range(count)).of_level(144, 64))
            sizes.append(bytes_of(recorded))
    held = (sizes[1] - sizes[0]) / b
    assert held > 144 * 64 * 8
    assert held <= bytes_per_image(prior.config, 8, records=True) <= 2 * held


@pytest.mark.parametrize("slope", [1, 2, "raster"])
@pytest.mark.parametrize("changes", [{}, {"attention_every": 0, "kernel_size": 3, "output_layers": 2}])
@pytest.mark.parametrize("conditioned", [False, True])
def test_weights_read_are_those_of_all_products_of_a_sample(make_prior, slope, changes, conditioned, monkeypatch):
    coarser = {"coarser_height": 3, "coarser_width": 4} if conditioned else {}
    prior = make_prior(slope=slope, height=6, width=8, **changes, **coarser)
    read = []

    def count(kind, numbers):
        compute = kind.__call__

        def call(self, *arguments):
            read.append(numbers(self))
            return compute(self, *arguments)

        monkeypatch.setattr(kind, "__call__", call)

    count(RowProduct, lambda product: product._matrix.numel())
    count(Linear, lambda linear: linear.weight.numel())
    of_blocks = Conditioning.of_blocks

    def count_condition(self, begin, end):
        read.append(0 if self._matrices is None else self._matrices.numel())
        return of_blocks(self, begin, end)

    monkeypatch.setattr(Conditioning, "of_blocks", count_condition)
    condition = prior.encode_condition(torch.zeros(2, 3, 4, dtype=torch.int64)) if conditioned else None
    CachedSampler().sample(prior, torch.zeros(2, dtype=torch.int64), condition, ImageNoise(0, range(2)), LevelParams())
    assert weights_read(prior.config) == sum(read)
