import pytest

from vqgen.config import find_recipe, read_recipe
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.planning import threads
from vqgen.planning.baseline_costs import baseline_costs
from vqgen.planning.costs import classifier_costs, prior_costs, sampling_steps, vqvae_costs
from vqgen.planning.threads import EXTRACTION_BATCH, stage_threads
from vqgen.runtime.threads import layers_of


@pytest.fixture(autouse=True)
def eight_cores(set_cores):
    set_cores(8)


@pytest.mark.parametrize("name", ["digits", "digits-vae", "digits-autoencoder"])
def test_small_models_train_in_one_thread(name):
    recipe = read_recipe(find_recipe(name))
    assert {stage: stage_threads(recipe, stage) for stage in recipe.stage_names} == dict.fromkeys(recipe.stage_names, 1)


def test_large_models_take_every_thread():
    recipe = read_recipe(find_recipe("cifar10"))
    assert stage_threads(recipe, "vqvae") == stage_threads(recipe, "prior-bottom") == 8


def test_threads_never_fall_with_the_batch():
    recipe = read_recipe(find_recipe("fashion-mnist-cpu"))
    found = []
    for batch_size in (1, 8, 64, 512):
        train = recipe.vqvae.train.model_copy(update={"batch_size": batch_size})
        larger = recipe.model_copy(update={"vqvae": recipe.vqvae.model_copy(update={"train": train})})
        found.append(stage_threads(larger, "vqvae"))
    assert found == sorted(found) and found[0] == 1 and found[-1] > 1


def test_recipe_overrules_the_work():
    recipe = read_recipe(find_recipe("digits")).model_copy(update={"threads": 5})
    assert {stage_threads(recipe, stage) for stage in recipe.stage_names} == {5}


@pytest.fixture
def work(monkeypatch):
    """Returns the multiplications of an average layer for which a stage asks the rule of threads."""
    asked = []
    monkeypatch.setattr(threads, "threads_for_work", lambda multiplications: asked.append(multiplications) or 1)

    def work(recipe, stage):
        stage_threads(recipe, stage)
        return asked.pop()

    return work


@pytest.fixture
def recipe(tiny_recipe):
    """A recipe whose stages have different batches: 4, 5, 6 and 7 images at a time, and 9 samples."""

    def train(images, micro_batches):
        return {"train": {"steps": 4, "batch_size": images * micro_batches, "micro_batches": micro_batches}}

    top = {"layers": 1, "channels": 32, "attention_every": 0, **train(5, 2)}
    bottom = {"layers": 9, "channels": 12, "attention_every": 0, "conditioning_layers": 9, **train(6, 1)}
    return tiny_recipe(
        vqvae=train(4, 3), priors=[top, bottom], classifier={"channels": 8, **train(7, 2)}, generate={"batch_size": 9}
    )


def mean(images, flops, model):
    """The multiplications, half of the FLOPs, of an average layer."""
    return pytest.approx(images * flops / 2 / layers_of(model))


def test_work_of_a_training_is_that_of_its_micro_batch(recipe, work):
    vqvae = recipe.vqvae_config()
    assert work(recipe, "vqvae") == mean(4, vqvae_costs(vqvae).total.flops, VQVAE(vqvae))
    for level, images in (("top", 5), ("bottom", 6)):
        prior = recipe.prior_config(level, 1)
        assert work(recipe, f"prior-{level}") == mean(images, prior_costs(prior).total.flops, PixelCNN(prior))
    classifier = recipe.classifier_config(1)
    flops = classifier_costs(classifier).flops
    assert work(recipe, "classifier") == mean(7, flops, build_classifier(classifier))
    default = recipe.model_copy(update={"classifier": None})
    images = default.classifier_or_default.train.batch_size
    classifier = default.classifier_config(1)
    flops = classifier_costs(classifier).flops
    assert work(default, "classifier") == mean(images, flops, build_classifier(classifier))


def test_work_of_residual_networks_counts_their_layers(tiny_recipe, work):
    recipe = tiny_recipe(vqvae={"architecture": "residual", "attention_heads": 2, "channel_multipliers": [1, 2]})
    config = recipe.vqvae_config()
    images = recipe.vqvae.train.batch_size
    assert work(recipe, "vqvae") == mean(images, vqvae_costs(config).total.flops, VQVAE(config))


def test_extraction_only_encodes(recipe, work):
    vqvae = recipe.vqvae_config()
    assert work(recipe, "codes") == mean(EXTRACTION_BATCH, vqvae_costs(vqvae).encode.flops, VQVAE(vqvae))


def test_work_of_sampling_is_a_step_of_the_level_with_the_largest_layers(recipe, work):
    top, bottom = (recipe.prior_config(level, 1) for level in ("top", "bottom"))
    of_top, of_bottom = (prior_costs(each).total.flops / sampling_steps(each) for each in (top, bottom))
    assert of_bottom > of_top  # of all its layers together
    assert work(recipe, "samples") == mean(9, of_top, PixelCNN(top))


def test_baseline_samples_by_its_decoder_alone(work):
    recipe = read_recipe(find_recipe("digits-vae"))
    config = recipe.autoencoder_config(1)
    costs, model = baseline_costs(config), build_baseline(config)
    assert work(recipe, "samples") == mean(recipe.generate.batch_size, costs.decoder.flops, model)
    assert work(recipe, "autoencoder") == mean(recipe.autoencoder.train.batch_size, costs.total.flops, model)
