import pytest
import torch
from accelerate import Accelerator

from vqgen.config import ClassifierSection, DataConfig, TrainConfig
from vqgen.data import to_float
from vqgen.errors import DataError
from vqgen.evaluation.accuracy_score import AccuracyScorer, as_many_per_label
from vqgen.runtime.compute import Compute

DATA = DataConfig(source="digits", image_size=8, channels=1)
SECTION = ClassifierSection(
    channels=8, stages=2, train=TrainConfig(steps=40, batch_size=16, learning_rate=5e-3, patience=1, validate_every=1)
)


def stripes(b):
    """Noisy pictures, bright above for label 0 and below for label 1."""
    labels = torch.arange(b) % 2
    images = torch.randint(100, (b, 1, 8, 8), dtype=torch.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    return images, labels


def scorer(test, seed=0, **options):
    compute = Compute.resolve("cpu")
    return AccuracyScorer(
        SECTION.config(DATA, 2), SECTION, DATA, *test, Accelerator(cpu=True), compute, seed, **options
    )


@torch.no_grad()
def share_right(classifier, images, labels):
    return float((classifier(to_float(images)).argmax(1) == labels).double().mean())


def test_classifier_learns_its_training_images_and_nothing_else():
    test = stripes(30)
    images, labels = stripes(64)
    judge = scorer(test)
    assert share_right(judge.train(images, labels), *test) == 1
    assert share_right(judge.train(images, 1 - labels), *test) == 0


def test_equal_seeds_train_equal_classifiers_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = stripes(10)
    shown = stripes(32)
    one, same, other = (scorer(test, seed).train(*shown).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    given = scorer(test, 0).train(*shown, seed=1).state_dict()
    assert all(torch.equal(other[name], given[name]) for name in other)
    assert list(tmp_path.iterdir()) == []


def test_test_images_choose_nothing():
    shown = stripes(32)
    one, other = (scorer(test).train(*shown).state_dict() for test in (stripes(10), (shown[0][:4], 1 - shown[1][:4])))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_score_is_the_share_of_test_images_classified_right():
    test = stripes(30)
    images, labels = stripes(64)
    wrong = torch.arange(30) < 6
    judge = scorer((test[0], torch.where(wrong, 1 - test[1], test[1])))
    (found,) = judge.metrics("cas", lambda _: (images, labels), "test")
    assert (found.name, found.value, found.space) == ("cas", 0.8, "40 steps")
    assert found.counts == {"trained on": 64, "test": 30}
    assert judge.metrics("cas", lambda _: (images, 1 - labels), "test")[0].value == pytest.approx(0.2)


def test_classifier_of_each_seed_learns_the_images_of_its_seed(monkeypatch):
    """Seed 3 learns right labels and seed 4 wrong ones: the mean is half, and so is the deviation."""
    images, labels = stripes(64)
    seen = []
    trained = []
    train = AccuracyScorer.train

    def recorded(self, images, labels, *, seed):
        trained.append(seed)
        return train(self, images, labels, seed=seed)

    monkeypatch.setattr(AccuracyScorer, "train", recorded)

    def shown(seed):
        seen.append(seed)
        return images, labels if seed == 3 else 1 - labels

    score, deviation = scorer(stripes(30), 3, num_seeds=2).metrics("cas_of_real", shown, "test")
    assert seen == trained == [3, 4]
    assert (score.name, score.value, score.space) == ("cas_of_real", 0.5, "40 steps, 2 seeds")
    assert (deviation.name, deviation.value) == ("cas_of_real_deviation", 0.5)


def test_scorer_without_images_is_refused():
    images, labels = stripes(4)
    with pytest.raises(DataError, match="classification accuracy score: should have at least 1 image, found 0"):
        scorer((images, labels)).train(images[:0], labels[:0])


def test_choice_has_as_many_of_each_label_as_wanted_or_all_of_them():
    labels = torch.tensor([2, 0, 1, 0, 2, 0, 2, 2])
    chosen = as_many_per_label(labels, torch.tensor([0, 0, 1, 1, 1, 2, -1]), seed=1)
    assert labels[chosen].bincount().tolist() == [2, 1, 1]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(chosen, as_many_per_label(labels, torch.tensor([0, 0, 1, 1, 1, 2]), seed=1))
    assert len(as_many_per_label(labels, torch.tensor([-1]), seed=1)) == 0
