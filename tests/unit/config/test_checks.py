import pytest

from vqgen.config import check_recipe
from vqgen.config.loading import validate_recipe
from vqgen.errors import ConfigError


@pytest.fixture
def with_priors(tiny_document):
    """Builds a tiny recipe with changes to each prior."""

    def build(*changes, **sections):
        document = tiny_document(**sections)
        document["priors"] = [document["priors"][0] | change for change in changes]
        return validate_recipe(document, origin="tiny")

    return build


def problems(recipe):
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe)
    return str(caught.value)


def test_a_sound_recipe_passes_in_silence(tiny_recipe):
    assert check_recipe(tiny_recipe()) == []


@pytest.mark.parametrize(("size", "nearest"), [(10, 8), (11, 12), (1, 4), (15, 16)])
def test_an_image_size_that_does_not_divide(tiny_recipe, size, nearest):
    text = problems(tiny_recipe(data={"image_size": size}))
    assert f"should divide by 4 (vqvae.downsample.0), found {size}; the nearest that does is {nearest}" in text


def test_priors_are_one_per_level(tiny_recipe, tiny_document, with_priors):
    assert "one per level (bottom, coarse to fine), found 2" in problems(tiny_recipe(vqvae={"downsample": [2]}))
    assert "one per level (top, bottom, coarse to fine), found 1" in problems(with_priors({}))


def test_heads_divide_channels(with_priors):
    text = problems(with_priors({}, {"attention_heads": 3}))
    assert "priors.1.attention_heads: should divide priors.1.channels = 8, found 3" in text
    assert check_recipe(with_priors({}, {"attention_heads": 3, "attention_every": 0, "layers": 9})) == []


def test_attention_that_would_never_come(with_priors):
    text = problems(with_priors({"attention_every": 3}, {}))
    assert "priors.0.attention_every: should be at most priors.0.layers = 2 (or 0 for no attention), found 3" in text


def test_a_source_of_folders_needs_one(tiny_recipe):
    assert "give it with --data.root FOLDER" in problems(tiny_recipe(data={"source": "folder"}))
    assert check_recipe(tiny_recipe(data={"source": "folder", "root": "/x"})) == []


def test_all_problems_at_once(with_priors):
    recipe = with_priors({"attention_heads": 3}, data={"source": "folder", "image_size": 10})
    assert len(problems(recipe).splitlines()) == 5


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"slope": 2, "kernel_size": 3, "layers": 9}, "choose a slope of at most 1"),
        ({"slope": "raster", "kernel_size": 5, "layers": 9}, "choose a slope of at most 2"),
        ({"slope": 2, "kernel_size": 5, "layers": 1}, "raise priors.1.layers"),
    ],
)
def test_a_blind_spot_is_named(with_priors, changes, remedy):
    large = {"data": {"image_size": 16}, "vqvae": {"downsample": [4, 2]}}
    sees = {"attention_every": 0, "slope": 2, "kernel_size": 5, "layers": 3}
    warnings = check_recipe(with_priors(sees, sees | changes, **large))
    assert len(warnings) == 1
    assert warnings[0].startswith("priors.1 (bottom) has a blind spot: of the earlier codes of a 8 x 8 grid it leaves ")
    assert warnings[0].endswith(remedy) or f" or {remedy}" in warnings[0]
    assert check_recipe(with_priors(sees, sees | changes | {"attention_every": 1}, **large)) == []


def test_there_is_no_blind_spot_at_the_depth_that_the_design_states(with_priors):
    for side in (4, 8, 16):
        enough = {"attention_every": 0, "slope": 2, "kernel_size": 5, "layers": -(-(side - 2) // 2)}
        large = {"data": {"image_size": 2 * side}, "vqvae": {"downsample": [2]}}
        assert check_recipe(with_priors(enough, **large)) == []
        assert check_recipe(with_priors(enough | {"layers": max(1, enough["layers"] - 1)}, **large)) or side == 4
