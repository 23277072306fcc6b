from dataclasses import replace

import pytest

from vqgen import open_pipeline
from vqgen.data import LabelMap
from vqgen.errors import DataError
from vqgen.models.checkpoint import hash_model
from vqgen.stages.records import read_record
from vqgen.stages.train_classifier import train_classifier

SECTION = {"channels": 8, "stages": 2, "train": {"steps": 4, "batch_size": 8, "validate_every": 2}}


def test_trained_classifier_joins_the_pipeline(make_run, tiny_recipe):
    run = make_run(tiny_recipe(classifier=SECTION))
    run.finish("vqvae")
    output = train_classifier(run.context)
    folder = run.context.folder / "classifier"
    assert output == hash_model(folder / "model")
    assert (folder / "losses.png").is_file()
    assert read_record(folder).metrics.keys() >= {"val_cross_entropy", "val_accuracy"}
    assert open_pipeline(run.pipeline, device="cpu").parts.classifier_hash == output
    assert train_classifier(run.context) == output


def test_classifier_may_be_trained_first(make_context, tiny_recipe):
    context = make_context(tiny_recipe(classifier=SECTION))
    train_classifier(context)
    assert not (context.folder / "pipeline").exists()


def test_images_without_labels_are_refused(make_context, tiny_recipe, images):
    context = make_context(tiny_recipe(classifier=SECTION))
    context.images = replace(images, label_map=LabelMap())
    with pytest.raises(DataError, match=r"classifier: needs images with labels, found none; remove \[classifier\]"):
        train_classifier(context)
    assert not context.folder.exists()


@pytest.mark.slow
def test_classifier_with_more_steps_is_bit_for_bit_the_longer_one(make_context, tiny_recipe, more_steps, tmp_path):
    def run(name, steps):
        train = SECTION["train"] | {"steps": steps, "schedule": "constant"}
        context = make_context(tiny_recipe(classifier=SECTION | {"train": train}))
        context.folder = tmp_path / name
        return context, train_classifier(context)

    _, expected = run("whole", 6)
    context, _ = run("parts", 4)
    more_steps(context, "classifier", 2)
    assert train_classifier(context) == expected
