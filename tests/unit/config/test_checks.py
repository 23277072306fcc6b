import pytest

from vqgen.config import check_recipe
from vqgen.config.loading import validate_recipe
from vqgen.errors import ConfigError


@pytest.fixture
def with_priors(tiny_document):
    """Builds a tiny recipe with changes to each of its priors."""

    def build(*changes, **sections):
        document = tiny_document(**sections)
        document["priors"] = [document["priors"][0] | change for change in changes]
        return validate_recipe(document, origin="tiny")

    return build


def problems(recipe):
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe)
    return str(caught.value)


def test_sound_recipe_passes_in_silence(tiny_recipe):
    assert check_recipe(tiny_recipe()) == []


@pytest.mark.parametrize(("size", "nearest"), [(10, 8), (11, 12), (1, 4), (15, 16)])
def test_image_size_that_does_not_divide_is_refused_with_the_nearest(tiny_recipe, size, nearest):
    text = problems(tiny_recipe(data={"image_size": size}))
    assert f"should divide by 4 (vqvae.downsample.0), found {size}; the nearest that does is {nearest}" in text


def test_recipe_without_one_prior_per_level_is_refused(tiny_recipe, tiny_document, with_priors):
    assert "one per level (bottom, coarse to fine), found 2" in problems(tiny_recipe(vqvae={"downsample": [2]}))
    assert "one per level (top, bottom, coarse to fine), found 1" in problems(with_priors({}))


def test_number_of_priors_that_fits_neither_levels_nor_grids_is_refused(with_priors):
    deep = {"vqvae": {"quantizer": {"depth": [1, 2]}}}
    for count in (1, 4):
        text = problems(with_priors(*[{}] * count, **deep))
        assert "one per level (top, bottom, coarse to fine), or one per grid of codes (top, bottom, bottom-2)" in text
        assert f", found {count}" in text
    assert check_recipe(with_priors({}, {}, {}, **deep)) == []


def test_heads_that_do_not_divide_the_channels_are_refused(with_priors):
    text = problems(with_priors({}, {"attention_heads": 3}))
    assert "priors.1.attention_heads: should divide priors.1.channels = 8, found 3" in text
    assert check_recipe(with_priors({}, {"attention_heads": 3, "attention_every": 0, "layers": 9})) == []


def test_attention_after_more_layers_than_there_are_is_refused(with_priors):
    text = problems(with_priors({"attention_every": 3}, {}))
    assert "priors.0.attention_every: should be at most priors.0.layers = 2 (or 0 for no attention), found 3" in text


def test_more_conditioning_grids_than_one_number_can_hold_are_a_problem(tiny_recipe, tiny_document):
    sections = [{**tiny_document()["priors"][0], "conditioning_grids": 8}] * 2
    deep = {"quantizer": {"depth": [1, 8]}}
    small = tiny_recipe(vqvae=deep | {"codebook_size": 128}, priors=sections)
    assert check_recipe(small) == []  # 7 grids before the last one
    text = problems(tiny_recipe(vqvae=deep | {"codebook_size": 1024}, priors=sections))
    assert "priors.8.conditioning_grids: should be at most 6 with vqvae.codebook_size = 1024, found 8" in text
    assert "priors.6" not in text


def test_source_folder_without_a_folder_is_refused_if_images_are_needed(tiny_recipe):
    recipe = tiny_recipe(data={"source": "folder"})
    assert "give it with --data.root FOLDER" in problems(recipe)
    assert check_recipe(recipe, needs_images=False) == []
    assert check_recipe(tiny_recipe(data={"source": "folder", "root": "/x"})) == []


def test_copies_without_an_augmentation_are_refused(tiny_recipe):
    text = problems(tiny_recipe(data={"augmented_copies": 3}))
    assert "data.augmented_copies: should be 0 without an augmentation, found 3; set one of data.hor" in text
    assert check_recipe(tiny_recipe(data={"augmented_copies": 3, "random_shift": 1})) == []


@pytest.mark.parametrize("crop", ["native", "native-centre"])
def test_native_squares_that_are_scaled_are_refused(tiny_recipe, crop):
    text = problems(tiny_recipe(data={"crop": crop, "random_crop": 0.8}))
    assert f"data.random_crop: should be 1 beside data.crop {crop}" in text
    assert check_recipe(tiny_recipe(data={"crop": crop})) == []


def test_rejection_without_a_classifier_is_refused(tiny_recipe):
    text = problems(tiny_recipe(generate={"keep": 0.5}))
    assert "generate.keep: should be 1 in a recipe without [classifier], which chooses the samples, found 0.5" in text
    assert check_recipe(tiny_recipe(generate={"keep": 0.5}, classifier={})) == []


def test_guidance_of_a_prior_that_always_saw_labels_is_refused(with_priors):
    recipe = with_priors({}, {"label_dropout": 0.0}, generate={"guidance_scale": 2.0})
    assert "priors.1.label_dropout: should be above 0 when generate.guidance_scale is not 1, found 0" in problems(
        recipe
    )


def test_autoguidance_of_a_prior_without_a_guide_is_refused(with_priors):
    recipe = with_priors({"guide_share": 0.1}, {}, generate={"autoguidance_scale": 2.0})
    assert "priors.1.guide_share: should be above 0 when generate.autoguidance_scale is not 1" in problems(recipe)
    assert "priors.0.guide_share" not in problems(recipe)


def test_all_problems_are_listed_together(with_priors):
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
def test_blind_spot_is_warned_of_with_a_remedy(with_priors, changes, remedy):
    large = {"data": {"image_size": 16}, "vqvae": {"downsample": [4, 2]}}
    sees = {"attention_every": 0, "slope": 2, "kernel_size": 5, "layers": 3}
    warnings = check_recipe(with_priors(sees, sees | changes, **large))
    assert len(warnings) == 1
    assert warnings[0].startswith("priors.1 (bottom) has a blind spot: it cannot see ")
    assert "% of the earlier codes of a 8 x 8 grid (slope" in warnings[0]
    assert f" or {remedy}" in warnings[0]
    assert check_recipe(with_priors(sees, sees | changes | {"attention_every": 1}, **large)) == []
    alike = {"positions": "none"}  # whole pictures are coded by neighbourhoods
    assert check_recipe(with_priors(sees | alike, sees | changes | alike, **large)) == []


def test_stack_of_the_stated_depth_has_no_blind_spot(with_priors):
    for side in (4, 8, 16):
        enough = {"attention_every": 0, "slope": 2, "kernel_size": 5, "layers": -(-(side - 2) // 2)}
        large = {"data": {"image_size": 2 * side}, "vqvae": {"downsample": [2]}}
        assert check_recipe(with_priors(enough, **large)) == []
        assert check_recipe(with_priors(enough | {"layers": max(1, enough["layers"] - 1)}, **large)) or side == 4


def test_attention_on_a_grid_of_absurd_size_is_refused_before_the_run(with_priors):
    large = {"data": {"image_size": 512}}
    text = problems(with_priors({"attention_every": 1}, {"attention_every": 1}, **large))
    assert "priors.1.attention_every: should be 0 on a grid of more than 32,768 codes, found 1 on 65,536 codes" in text


def test_range_under_the_first_rules_is_refused(tiny_recipe):
    text = problems(tiny_recipe(data={"reading_rules": 1, "value_range": (0, 4095)}))
    assert "data.value_range: needs data.reading_rules = 2, found 1" in text
    assert check_recipe(tiny_recipe(data={"value_range": (0, 4095)})) == []
