import pytest
import torch

from vqgen.errors import ConfigError
from vqgen.sampling import CachedSampler, ImageNoise, LevelParams, bytes_per_image, images_that_fit, weights_read
from vqgen.sampling.cached_layers import Linear
from vqgen.sampling.cached_network import Conditioning
from vqgen.sampling.row_product import RowProduct


def test_the_largest_number_that_fits(make_prior):
    configs = [make_prior(height=side, width=side).config for side in (3, 9)]
    needed = max(map(bytes_per_image, configs))
    memory = 10**6
    images = images_that_fit(configs, memory)
    assert images * needed <= 0.8 * memory < (images + 1) * needed


def test_memory_grows_with_the_grid_and_the_layers(make_prior):
    sizes = [bytes_per_image(make_prior(**changes).config) for changes in ({}, {"layers": 4}, {"height": 30})]
    assert sizes == sorted(sizes)
    assert bytes_per_image(make_prior().config, 8) > bytes_per_image(make_prior().config, 4)


def test_levels_that_are_kept_count_together(make_prior):
    configs = [make_prior(height=side, width=side).config for side in (3, 9)]
    memory, needed = 10**6, [bytes_per_image(config) for config in configs]
    assert images_that_fit(configs, memory) == int(0.8 * memory) // max(needed)
    assert images_that_fit(configs, memory, holds_memory=True) == int(0.8 * memory) // sum(needed)


def test_not_even_one_image(make_prior):
    with pytest.raises(ConfigError, match=r"max_memory: should be at least .* MB, which one image takes, found 0.001"):
        images_that_fit([make_prior().config], 1000)


@pytest.mark.parametrize("slope", [1, 2, "raster"])
@pytest.mark.parametrize("changes", [{}, {"attention_every": 0, "kernel_size": 3, "output_layers": 2}])
@pytest.mark.parametrize("conditioned", [False, True])
def test_weights_read_are_those_of_all_products_of_a_sample(make_prior, slope, changes, conditioned, monkeypatch):
    coarser = {"coarser_height": 3, "coarser_width": 4} if conditioned else {}
    prior, read = make_prior(slope=slope, height=6, width=8, **changes, **coarser), []

    def count(kind, numbers):
        compute = kind.__call__

        def call(self, *arguments):
            read.append(numbers(self))
            return compute(self, *arguments)

        monkeypatch.setattr(kind, "__call__", call)

    count(RowProduct, lambda product: product._matrix.numel())
    count(Linear, lambda linear: linear.weight.numel())
    of_blocks = Conditioning.of_blocks

    def count_condition(self, where):
        read.append(0 if self._matrices is None else self._matrices.numel())
        return of_blocks(self, where)

    monkeypatch.setattr(Conditioning, "of_blocks", count_condition)
    condition = prior.encode_condition(torch.zeros(2, 3, 4, dtype=torch.int64)) if conditioned else None
    CachedSampler().sample(prior, torch.zeros(2, dtype=torch.int64), condition, ImageNoise(0, range(2)), LevelParams())
    assert weights_read(prior.config) == sum(read)
