import pytest

from vqgen.errors import ConfigError
from vqgen.sampling import bytes_per_image, images_that_fit


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


def test_not_even_one_image(make_prior):
    with pytest.raises(ConfigError, match=r"max_memory: should be at least .* MB, which one image takes, found 0.001"):
        images_that_fit([make_prior().config], 1000)
