import pytest
from pydantic import ValidationError

from vqgen.config import (
    AutoencoderConfig,
    ClassifierConfig,
    PixelCNNConfig,
    VQVAEConfig,
    VQVAESettings,
    level_names,
)


def test_levels_are_named_coarse_to_fine():
    assert level_names(1) == ("bottom",)
    assert level_names(2) == ("top", "bottom")
    assert VQVAESettings(downsample=(8, 4, 2)).levels == ("top", "middle", "bottom")


@pytest.mark.parametrize(
    ("downsample", "depth", "levels", "factors"),
    [
        ((8, 4), 1, ("top", "bottom"), (8, 4)),
        ((4,), 3, ("bottom", "bottom-2", "bottom-3"), (4, 4, 4)),
        ((8, 4), (1, 2), ("top", "bottom", "bottom-2"), (8, 4, 4)),
        ((8, 4, 2), 2, ("top", "top-2", "middle", "middle-2", "bottom", "bottom-2"), (8, 8, 4, 4, 2, 2)),
    ],
)
def test_grids_of_a_level_follow_each_other_and_have_its_size(downsample, depth, levels, factors):
    settings = VQVAESettings.model_validate({"downsample": downsample, "quantizer": {"depth": depth}})
    assert settings.levels == levels
    assert settings.grid_factors == factors
    assert [downsample[index] for index in settings.levels_of_grids] == list(factors)
    assert len(settings.latent_dims) == len(downsample)


@pytest.mark.parametrize(
    ("quantizer", "text"),
    [
        ({}, "512 codes of 64 dimensions"),
        ({"kind": "fsq"}, "512 codes of 3 dimensions (fsq)"),
        ({"kind": ["lfq", "ema"]}, "512 codes of 9 and 64 dimensions (lfq, ema)"),
    ],
)
def test_text_of_the_codebook_has_the_dimensions_of_each_kind(quantizer, text):
    assert VQVAESettings.model_validate({"quantizer": quantizer}).codebook_text == text


def test_model_of_depth_1_is_stored_as_before_the_depth_was_added():
    def stored(**quantizer):
        return VQVAEConfig(downsample=(4, 2), image_size=8, image_channels=1, quantizer=quantizer).stored()

    assert stored() == stored(depth=[1, 1])
    assert list(stored()["quantizer"]) == ["kind", "gradient", "codebook", "fsq_levels", "entropy_weight"]
    assert stored(depth=[1, 2])["quantizer"]["depth"] == [1, 2]
    assert stored(rate_weight=0.5)["quantizer"]["rate_weight"] == 0.5
    assert VQVAEConfig.model_validate(stored(depth=2)).levels == ("top", "top-2", "bottom", "bottom-2")


@pytest.mark.parametrize(
    ("downsample", "text"),
    [
        ([], "should have 1 to 3 levels, found 0"),
        ([16, 8, 4, 2], "should have 1 to 3 levels, found 4"),
        ([6, 3], "should be powers of two from 2 up, found 6"),
        ([2**15, 2], "should be at most 16384, found 32768"),
        ([2, 1], "should be powers of two from 2 up, found 1"),
        ([4, 4], r"should fall from coarse to fine, found \[4, 4\]"),
    ],
)
def test_impossible_downsampling_is_refused(downsample, text):
    with pytest.raises(ValidationError, match=text):
        VQVAESettings(downsample=downsample)


@pytest.mark.parametrize("config", [VQVAEConfig, PixelCNNConfig, ClassifierConfig, AutoencoderConfig])
def test_every_size_has_a_bound(config):
    counts = [name for name, field in config.model_fields.items() if field.annotation is int]
    assert len(counts) >= 6
    for name in counts:
        if name != "kernel_size":  # has a check of its own
            with pytest.raises(ValidationError, match="less than or equal to") as caught:
                config.model_validate({name: 2 * 10**12})
            assert any(error["loc"] == (name,) for error in caught.value.errors()), name
