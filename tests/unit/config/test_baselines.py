import pytest
from pydantic import ValidationError

from vqgen.config import AutoencoderConfig, AutoencoderSettings
from vqgen.config.baselines import LARGEST_LATENT_GRID


def config(**changes):
    return AutoencoderConfig(**({"image_size": 16, "image_channels": 1, "num_classes": 10} | changes))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"kind": "vae", "mixture_components": 3}, "mixture_components = 3"),
        ({"kind": "autoencoder", "labels": "conditional"}, 'labels = "conditional"'),
        ({"kind": "vae", "gradient": "gumbel", "beta": 2.0}, 'gradient = "gumbel"'),
        ({"kind": "autoencoder", "likelihood": "gaussian", "beta": 2.0}, 'likelihood = "gaussian", beta = 2'),
    ],
)
def test_field_of_another_kind_is_refused(settings, found):
    with pytest.raises(ValidationError) as caught:
        AutoencoderSettings(**settings)
    assert f'should set only fields that kind = "{settings["kind"]}" uses, found {found}' in str(caught.value)


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "binary-vae"])
def test_defaults_of_every_field_fit_every_kind(kind):
    settings = AutoencoderSettings(kind=kind)
    assert AutoencoderSettings(**settings.model_dump()) == settings


@pytest.mark.parametrize(("size", "downsample", "grid"), [(8, 2, 4), (16, 4, 4), (28, 4, 7), (32, 8, 4), (128, 32, 4)])
def test_images_are_halved_to_a_small_grid(size, downsample, grid):
    found = config(image_size=size)
    assert (found.downsample, found.grid) == (downsample, grid)


@pytest.mark.parametrize("size", range(2, 129))
def test_halving_stops_at_the_first_small_or_odd_side(size):
    found = config(image_size=size)
    assert found.grid * found.downsample == size
    assert found.grid <= LARGEST_LATENT_GRID or found.grid % 2 == 1
    assert found.downsample == 1 or found.grid * 2 > LARGEST_LATENT_GRID


def test_networks_are_conditioned_on_labels_only_if_the_section_asks_for_it():
    assert config(labels="conditional").label_features == 10
    assert config().label_features == 0
    assert config(kind="autoencoder").label_features == 0  # its mixtures have labels, its networks have none


def test_images_of_a_label_need_mixtures_or_conditional_networks():
    assert config(kind="autoencoder").is_conditional
    assert config(labels="conditional").is_conditional
    assert not config().is_conditional
