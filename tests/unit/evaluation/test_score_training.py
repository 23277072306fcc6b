import pickle
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from scoring import score_config, stored_weights, stripes, weights

from vqgen.data import to_float
from vqgen.errors import DataError
from vqgen.evaluation.score_training import (
    LabelledImages,
    StoredTraining,
    predict,
    predict_stored,
    train_classifier,
)
from vqgen.runtime.compute import Compute
from vqgen.runtime.side_by_side import side_by_side


@torch.no_grad()
def share_right(classifier, shown):
    return float((classifier(to_float(shown.images)).argmax(1) == shown.labels).double().mean())


def exchanged(shown):
    return LabelledImages(shown.images, 1 - shown.labels)


def are_equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_classifier_learns_its_training_images_and_nothing_else():
    shown, test = stripes(64), stripes(30)
    assert share_right(train_classifier(score_config(), shown, test, 0), test) == 1
    assert share_right(train_classifier(score_config(), exchanged(shown), test, 0), test) == 0


def test_classifier_is_trained_on_the_device_of_the_score(monkeypatch):
    """Accelerate takes the current GPU, so the one that the user named has to be it."""
    current = []

    @contextmanager
    def as_current(compute):
        current.append(compute.device)
        yield
        current.pop()

    def make(compute):
        assert current == [compute.device]
        raise InterruptedError

    monkeypatch.setattr(Compute, "as_current", as_current)
    monkeypatch.setattr("vqgen.runtime.processes.make_accelerator", make)
    config = replace(score_config(), compute=Compute(torch.device("cuda:1")))
    with pytest.raises(InterruptedError):
        train_classifier(config, stripes(8), stripes(4), 0)


def test_equal_seeds_train_equal_classifiers_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown, test = stripes(32), stripes(10)
    one, same, other = (weights(shown, test, seed) for seed in (0, 0, 1))
    assert are_equal(one, same)
    assert not are_equal(one, other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("epochs", "sizes"), [(1.0, [16, 16, 8]), (0.5, [16, 4]), (1.6, [16, 16, 16, 16])])
def test_epochs_of_the_recipe_are_passes_over_the_images_shown(epochs, sizes, monkeypatch):
    """Of 40 images in batches of 16; the 40 steps of the same recipe count for nothing."""
    orders = []

    def record(images, test, config, section, data, order, *_):
        orders.append(([order.size(step) for step in range(order.num_steps)], section.train.validate_every))
        raise InterruptedError

    monkeypatch.setattr("vqgen.training.classifier.train_on", record)
    section = score_config().section
    section = section.model_copy(update={"train": section.train.model_copy(update={"epochs": epochs})})
    with pytest.raises(InterruptedError):
        train_classifier(score_config(section=section), stripes(40), stripes(4), 0)
    assert orders == [(sizes, len(sizes))]


def test_test_images_choose_nothing():
    shown = stripes(32)
    assert are_equal(weights(shown, stripes(10)), weights(shown, exchanged(stripes(4))))


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_weights_are_the_same_bits_in_another_process_whatever_the_threads_of_this_one(tmp_path, three_threads):
    stored = StoredTraining(score_config(), tmp_path / "shown.safetensors", tmp_path / "test.safetensors", 5)
    shown, test = stripes(32), stripes(10)
    shown.save(stored.train)
    test.save(stored.test)
    here = weights(shown, test, 5)
    assert torch.get_num_threads() == 3
    (there,) = side_by_side(stored_weights, [stored], 1)
    assert here.keys() == there.keys()
    assert are_equal(here, there)


def test_classifier_without_images_is_refused():
    with pytest.raises(DataError, match="classification accuracy score: should have at least 1 image, found 0"):
        train_classifier(score_config(), stripes(0), stripes(4), 0)


def test_settings_without_choice_validate_once_after_the_last_step():
    config = score_config()
    changed = config.section_without_choice(40)
    assert changed.train.validate_every == changed.train.save_every == 40
    assert changed.train.patience == 0
    assert changed.channels == config.section.channels
    assert list(replace(config, seed=4, num_seeds=3).seeds) == [4, 5, 6]


def test_stored_training_predicts_the_same_labels_and_leaves_no_file(tmp_path):
    shown, test = stripes(32), stripes(20)
    shown.save(tmp_path / "shown.safetensors")
    test.save(tmp_path / "test.safetensors")
    stored = StoredTraining(score_config(), tmp_path / "shown.safetensors", tmp_path / "test.safetensors", 5)
    found = predict_stored(pickle.loads(pickle.dumps(stored)))
    assert torch.equal(found, predict(score_config(), shown, test, 5))
    assert torch.equal(found, test.labels)
    assert len(list(tmp_path.iterdir())) == 2
