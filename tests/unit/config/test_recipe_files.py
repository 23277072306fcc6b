import pytest
import tomli_w

from vqgen.config import read_recipe, save_recipe
from vqgen.config.loading import validate_recipe
from vqgen.errors import ConfigError


def message(document):
    with pytest.raises(ConfigError) as caught:
        validate_recipe(document, origin="mine.toml")
    return str(caught.value)


def test_round_trip_through_toml_keeps_every_field(tiny_recipe, tmp_path):
    recipe = tiny_recipe(
        seed=7,
        data={"root": 'odd "name" \\ ümlaut', "random_crop": 0.75},
        vqvae={"train": {"epochs": 2.5, "learning_rate": 1e-4}},
        generate={"top_p": 0.9},
    )
    save_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    assert recipe.data.root == 'odd "name" \\ ümlaut'


def test_a_raster_slope_survives(tiny_document, tmp_path):
    document = tiny_document()
    document["priors"] = [document["priors"][0] | {"slope": "raster"}, document["priors"][1] | {"slope": 3}]
    save_recipe(validate_recipe(document, origin="tiny"), tmp_path / "recipe.toml")
    assert [prior.slope for prior in read_recipe(tmp_path / "recipe.toml").priors] == ["raster", 3]


@pytest.mark.parametrize(
    ("section", "key", "path", "nearest"),
    [
        ([], "sead", "sead", "seed"),
        (["data"], "image_sise", "data.image_sise", "image_size"),
        (["vqvae"], "codebok_size", "vqvae.codebok_size", "codebook_size"),
        (["vqvae", "train"], "learning_rat", "vqvae.train.learning_rat", "learning_rate"),
        (["priors", 1], "layer", "priors.1.layer", "layers"),
        (["priors", 1, "train"], "stepz", "priors.1.train.stepz", "steps"),
        (["generate"], "topk", "generate.topk", "top_k"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(tiny_document, section, key, path, nearest):
    document = tiny_document()
    document["priors"] = [dict(prior, train=dict(prior["train"])) for prior in document["priors"]]
    place = document
    for part in section:
        place = place[part]
    place[key] = 1
    assert f"{path}: is no key of a recipe; did you mean {nearest!r}?" in message(document)


def test_a_key_that_is_like_no_other_is_refused_without_a_guess(tiny_document):
    assert message(tiny_document(qqqq=1)).endswith("  qqqq: is no key of a recipe")


def test_all_errors_at_once_with_their_paths(tiny_document):
    document = tiny_document(
        seed=-1,
        data={"source": "digit", "channels": 2},
        vqvae={"downsample": [2, 4], "codebook_size": 1, "train": {"steps": 0, "colour": "red"}},
        generate={"top_p": 1.5},
    )
    del document["name"]
    document["priors"] = [document["priors"][0] | {"kernel_size": 4}, document["priors"][1] | {"slope": 0}]
    text = message(document)
    lines = text.splitlines()
    assert lines[0] == "recipe mine.toml: 11 wrong:"
    expected = [
        "name: is missing",
        "seed: should be greater than or equal to 0, found -1",
        "data.source: should be 'digits'",
        "data.channels: should be 1 or 3, found 2",
        "vqvae.downsample: should fall from coarse to fine, found [2, 4]",
        "vqvae.codebook_size: should be greater than or equal to 2, found 1",
        "vqvae.train.steps: should be greater than 0, found 0",
        "vqvae.train.colour: is no key of a recipe",
        "priors.0.kernel_size: should be odd and at least 3, found 4",
        'priors.1.slope: should be at least 1 or "raster", found 0',
        "generate.top_p: should be less than or equal to 1, found 1.5",
    ]
    for start in expected:
        assert sum(line.strip().startswith(start) for line in lines[1:]) == 1, (start, text)
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("downsample", "text"),
    [
        ([], "should have 1 to 3 levels, found 0"),
        ([16, 8, 4, 2], "should have 1 to 3 levels, found 4"),
        ([6, 3], "should be powers of two from 2 up, found 6"),
        ([2, 1], "should be powers of two from 2 up, found 1"),
        ([4, 4], "should fall from coarse to fine"),
    ],
)
def test_downsampling_that_no_model_has(tiny_document, downsample, text):
    assert f"vqvae.downsample: {text}" in message(tiny_document(vqvae={"downsample": downsample}))


@pytest.mark.parametrize("slope", [0, -2, "zigzag", 1.5])
def test_a_slope_that_is_none_is_said_in_one_line(tiny_document, slope):
    document = tiny_document()
    document["priors"] = [document["priors"][0] | {"slope": slope}, document["priors"][1]]
    lines = message(document).splitlines()
    assert lines[1:] == [f'  priors.0.slope: should be at least 1 or "raster", found {slope!r}']


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b"])
def test_a_name_that_is_no_folder_is_refused(tiny_document, name):
    assert "name: should be letters, digits" in message(tiny_document(name=name))


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"[data\n"])
def test_what_is_no_toml_is_refused_by_name(content, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine\.toml: is not a TOML file"):
        read_recipe(path)


def test_a_section_of_the_wrong_kind_is_refused(tiny_document, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(tiny_document() | {"vqvae": 3}))
    with pytest.raises(ConfigError, match="vqvae: should be a valid dictionary"):
        read_recipe(path)


def test_recipes_are_frozen(tiny_recipe):
    with pytest.raises(ValueError, match="frozen"):
        tiny_recipe().seed = 3


def test_level_names_and_grids(tiny_recipe, tiny_document):
    assert tiny_recipe().levels == ("top", "bottom")
    assert [tiny_recipe().grid_side(level) for level in ("top", "bottom")] == [2, 4]
    three = tiny_recipe(
        vqvae={"downsample": [8, 4, 2]}, data={"image_size": 16}, priors=[tiny_document()["priors"][0]] * 3
    )
    assert three.levels == ("top", "middle", "bottom")
    priors = [three.prior_config(level, num_classes=10) for level in three.levels]
    assert [(prior.height, prior.coarser_height) for prior in priors] == [(2, 0), (4, 2), (8, 4)]
    assert [prior.is_conditioned for prior in priors] == [False, True, True]
    assert tiny_recipe(vqvae={"downsample": [2]}).levels == ("bottom",)
    assert tiny_recipe().vqvae_config().image_channels == 1


def test_the_warm_up_takes_at_most_a_quarter_of_the_training(tiny_recipe) -> None:
    recipe = tiny_recipe(vqvae={"quantize_after": 200, "train": {"steps": 100}})
    assert recipe.vqvae_config().quantize_after == 25
    assert recipe.vqvae_config(total_steps=8000).quantize_after == 200
