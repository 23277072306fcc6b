import pytest

from vqgen.config import check_recipe, find_recipe, read_recipe
from vqgen.config.overrides import apply_overrides
from vqgen.data import ImageCounts
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_tiers import TIERS, candidates, image_side
from vqgen.planning.costs import prior_costs, vqvae_costs

FOLDER = read_recipe(find_recipe("folder"))


def pictures(train=450, classes=5, side=128, *, is_grey=False):
    return Pictures(ImageCounts(train, max(1, train // 9), 0, classes), side, is_grey, 1e-3, ())


def free(found, *options):
    return candidates(FOLDER, found, lambda recipe: apply_overrides(recipe, list(options)), is_free=True)


def named(rows):
    return {row.name: row.with_share(1.0) for row in rows}


def unchanged(recipe):
    return recipe


@pytest.mark.parametrize("side", [5, 8, 16, 28, 32, 50, 64, 100, 128, 500, 4000])
@pytest.mark.parametrize("classes", [0, 2, 300])
@pytest.mark.parametrize("train", [2, 36, 4500, 60_000])
def test_every_size_fits_together_for_any_pictures(side, classes, train):
    for row in free(pictures(train, classes, side)):
        for share in (row.least_share, row.largest_share):
            recipe = row.with_share(share)
            assert check_recipe(recipe, needs_images=False) == []  # without a blind spot, too


def test_sizes_come_from_large_to_small_in_the_work_of_a_run():
    work = []
    for row in free(pictures(train=60_000)):
        recipe = row.with_share(row.least_share)
        images = recipe.vqvae.train.steps * recipe.vqvae.train.batch_size
        flops = images * vqvae_costs(recipe.vqvae_config()).train_flops
        for level in recipe.levels:
            train = recipe.prior(level).train
            flops += 3 * train.steps * train.batch_size * prior_costs(recipe.prior_config(level, 5)).total.flops
        work.append(flops)
    assert work == sorted(work, reverse=True)
    assert len(set(work)) == len(work)


@pytest.mark.parametrize("depth", [("1", "2"), ("2", "1")])
def test_every_size_has_a_prior_for_each_grid_of_the_depth_that_was_asked_for(depth):
    options = ["--vqvae.quantizer.depth", *depth]
    keep = lambda recipe: apply_overrides(recipe, options)  # noqa: E731
    for start in (FOLDER, keep(FOLDER)):
        for row in candidates(start, pictures(), keep, is_free=True):
            recipe = row.with_share(1.0)
            assert len(recipe.levels) == len(recipe.priors) == 3
            assert check_recipe(recipe, needs_images=False) == []


@pytest.mark.parametrize("crop", ["native", "native-centre"])
def test_native_squares_of_the_user_are_not_scaled_by_any_size(crop):
    start = apply_overrides(FOLDER, ["--data.random-crop", "1"])
    for row in candidates(start, pictures(), lambda r: apply_overrides(r, ["--data.crop", crop]), is_free=True):
        recipe = row.with_share(1.0)
        assert (recipe.data.crop, recipe.data.random_crop) == (crop, 1.0)
        assert check_recipe(recipe, needs_images=False) == []


def test_first_candidate_is_the_recipe_itself():
    rows = free(pictures())
    assert rows[0].with_share(1.0) == FOLDER
    assert [row.name for row in rows[1:]] == [tier.name for tier in reversed(TIERS)]


@pytest.mark.parametrize(
    ("side", "largest", "expected"),
    [(8, 64, 16), (28, 64, 32), (25, 64, 24), (64, 64, 64), (100, 64, 64), (100, 128, 96), (110, 128, 128),
     (128, 32, 32), (1000, 128, 128)],
)  # fmt: skip
def test_images_are_hardly_larger_than_the_pictures(side, largest, expected):
    assert image_side(side, largest) == expected


def test_grey_pictures_give_a_grey_model_without_mirroring():
    data = named(free(pictures(is_grey=True)))["small"].data
    assert (data.channels, data.horizontal_flip) == (1, False)
    data = named(free(pictures()))["small"].data
    assert (data.channels, data.horizontal_flip) == (3, True)


def test_few_pictures_get_copies_and_dropout():
    few, many = (named(free(pictures(train=train)))["small"] for train in (36, 60_000))
    assert few.data.augmented_copies > 10
    assert few.data.random_crop < 1
    assert many.data.augmented_copies == 0
    assert many.data.random_crop == 1
    assert few.priors[0].dropout > many.priors[0].dropout


def test_large_pictures_are_read_once():
    data = named(free(pictures(side=2000)))["small"].data
    assert data.random_crop == 1
    assert data.augmented_copies > 0
    assert data.random_shift > 0


def test_priors_of_few_pictures_stay_small_under_a_large_vqvae():
    few, many = (named(free(pictures(train=train)))["larger"] for train in (36, 60_000))
    assert few.vqvae == many.vqvae
    assert few.priors[1].channels < many.priors[1].channels


def test_classifier_belongs_to_labels():
    assert named(free(pictures(classes=0)))["small"].classifier is None
    assert named(free(pictures(classes=5)))["small"].classifier is not None


def test_number_of_samples_follows_the_labels():
    samples = [named(free(pictures(classes=classes)))["tiny"].generate.images_per_label for classes in (0, 5, 20, 300)]
    assert samples == [16, 10, 5, 2]


def test_fields_of_the_user_are_kept_at_every_size():
    options = ["--data.image-size", "48", "--priors.1.layers", "3", "--vqvae.train.steps", "77", "--seed", "9"]
    for row in free(pictures(), *options):
        for share in (row.least_share, 1.0, row.largest_share):
            recipe = row.with_share(share)
            assert recipe.data.image_size == 48
            assert recipe.priors[1].layers == 3
            assert recipe.vqvae.train.steps == 77
            assert recipe.seed == 9
            check_recipe(recipe, needs_images=False)


def test_given_size_of_images_gets_a_downsampling_that_divides_it():
    for row in free(pictures(), "--data.image-size", "40"):
        check_recipe(row.with_share(1.0), needs_images=False)


def test_recipe_with_sizes_of_its_own_keeps_its_structure():
    recipe = read_recipe(find_recipe("digits"))
    rows = candidates(recipe, pictures(1527, 10, 8, is_grey=True), unchanged, is_free=False)
    assert rows[0].with_share(1.0) == recipe
    widths = [row.with_share(1.0).vqvae.channels for row in rows]
    assert widths == sorted(widths, reverse=True)
    for row in rows:
        small = row.with_share(1.0)
        assert small.vqvae.downsample == recipe.vqvae.downsample
        assert [prior.layers for prior in small.priors] == [prior.layers for prior in recipe.priors]
        assert row.largest_share == 1


def test_baseline_is_never_free():
    recipe = read_recipe(find_recipe("digits-vae"))
    rows = candidates(recipe, pictures(1527, 10, 8, is_grey=True), unchanged, is_free=True)
    assert rows[0].with_share(1.0) == recipe
    assert rows[-1].with_share(1.0).autoencoder.channels < recipe.autoencoder.channels
