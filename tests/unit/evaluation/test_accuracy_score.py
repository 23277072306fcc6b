import pytest
import torch
from scoring import score_config, stripes

from vqgen.errors import DataError
from vqgen.evaluation import accuracy_score
from vqgen.evaluation.accuracy_score import AccuracyScorer, ScoredImages, as_many_per_label
from vqgen.evaluation.score_training import LabelledImages
from vqgen.runtime.compute import Compute


def of_epochs(epochs):
    """Returns the classifiers of the score with a training of this length."""
    section = score_config().section
    return section.model_copy(update={"train": section.train.model_copy(update={"epochs": epochs})})


def exchanged(shown):
    return LabelledImages(shown.images, 1 - shown.labels)


def of_any_seed(name, shown):
    return ScoredImages(name, lambda _: shown)


@pytest.fixture
def worth_processes(monkeypatch):
    """Makes the shortest training worth a process of its own, on a machine of three cores."""
    monkeypatch.setattr(accuracy_score, "_LEAST_PIXELS", 0)
    monkeypatch.setattr(accuracy_score, "available_cores", lambda: 3)


@pytest.fixture
def called(monkeypatch):
    """Calls trainings in this process in place of others, and records them: (training, processes)."""
    calls = []

    def side_by_side(function, tasks, processes):
        for task in tasks:
            calls.append((task, processes))
            yield function(task)

    monkeypatch.setattr(accuracy_score, "side_by_side", side_by_side)
    return calls


def test_score_is_the_share_of_test_images_classified_right():
    test = stripes(30)
    shown = stripes(64)
    labels = torch.where(torch.arange(30) < 6, 1 - test.labels, test.labels)
    scorer = AccuracyScorer(score_config(), LabelledImages(test.images, labels), "test")
    (found,), (of_wrong,) = scorer.scores([of_any_seed("cas", shown), of_any_seed("wrong", exchanged(shown))])
    assert (found.name, found.value, found.space) == ("cas", 0.8, "40 steps")
    assert found.counts == {"trained on": 64, "test": 30}
    assert (of_wrong.name, of_wrong.value) == ("wrong", pytest.approx(0.2))


def test_score_of_a_recipe_of_epochs_names_them():
    scorer = AccuracyScorer(score_config(section=of_epochs(20.0), num_seeds=2), stripes(30), "test")
    ((score, _),) = scorer.scores([of_any_seed("cas", stripes(64))])
    assert (score.value, score.space) == (1, "20 epochs, 2 seeds")


def test_classifier_of_each_seed_learns_the_images_of_its_seed():
    """Seed 3 learns right labels and seed 4 wrong ones: the mean is half, and so is the deviation."""
    shown = stripes(64)
    seen = []

    def of_seed(seed):
        seen.append(seed)
        return shown if seed == 3 else exchanged(shown)

    scorer = AccuracyScorer(score_config(seed=3, num_seeds=2), stripes(30), "test")
    ((score, deviation),) = scorer.scores([ScoredImages("cas_of_real", of_seed)])
    assert seen == [3, 4]
    assert (score.name, score.value, score.space) == ("cas_of_real", 0.5, "40 steps, 2 seeds")
    assert (deviation.name, deviation.value) == ("cas_of_real_deviation", 0.5)


def test_sets_and_tests_without_labels_have_no_score_and_train_nothing(monkeypatch):
    monkeypatch.setattr(accuracy_score, "predict", lambda *_: pytest.fail("trained"))
    problem = ScoredImages("cas", lambda _: pytest.fail("asked"), "no sample has a label")
    (found,) = AccuracyScorer(score_config(), stripes(4), "test").scores([problem])
    assert (list(found), found.left_out) == ([], {"cas": "no sample has a label"})
    (found,) = AccuracyScorer(score_config(), stripes(0), "validation").scores([of_any_seed("cas", stripes(4))])
    assert (list(found), found.left_out) == ([], {"cas": "no validation image has a label"})


def test_set_with_a_problem_leaves_the_sets_around_it_as_they_are():
    test = stripes(30)
    sets = [
        of_any_seed("cas", stripes(64)),
        ScoredImages("other", lambda _: pytest.fail("asked"), "none"),
        of_any_seed("wrong", exchanged(stripes(64))),
    ]
    first, second, third = AccuracyScorer(score_config(), test, "test").scores(sets)
    assert [metric.name for metric in first] == ["cas"]
    assert second.left_out == {"other": "none"}
    assert [(metric.name, metric.value) for metric in third] == [("wrong", 0.0)]


def test_set_without_images_is_refused(worth_processes, called):
    scorer = AccuracyScorer(score_config(num_seeds=2), stripes(4), "test")
    with pytest.raises(DataError, match="classification accuracy score: should have at least 1 image, found 0"):
        next(scorer.scores([of_any_seed("cas", stripes(0))]))


@pytest.mark.slow
def test_scores_are_the_same_bits_side_by_side_and_one_after_the_other(monkeypatch, worth_processes):
    """In real processes. Images and labels are noise, so that the labels given to other noise are mixed."""

    def noise(count):
        return LabelledImages(torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8), torch.randint(2, (count,)))

    scorer = AccuracyScorer(score_config(num_seeds=2), noise(200), "test")
    monkeypatch.setattr(accuracy_score, "available_cores", lambda: 2)
    of_seeds = [noise(9), noise(9)]
    sets = [of_any_seed("cas", noise(48)), ScoredImages("other", lambda seed: of_seeds[seed])]
    predictions = list(scorer._predictions(sets))
    monkeypatch.setattr(accuracy_score, "available_cores", lambda: 1)
    alone = list(scorer._predictions(sets))
    assert [each.trained_on for each in predictions] == [each.trained_on for each in alone] == [48, 48, 9, 9]
    for one, other in zip(predictions, alone, strict=True):
        assert torch.equal(one.labels, other.labels)
    assert len({tuple(each.labels.tolist()) for each in alone}) == 4


def test_images_of_all_seeds_are_stored_once(worth_processes, called, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = stripes(16)
    scorer = AccuracyScorer(score_config(seed=7, num_seeds=2), stripes(4), "test")
    sets = [of_any_seed("cas", shown), ScoredImages("other", lambda seed: stripes(seed))]
    assert [[metric.name for metric in score] for score in scorer.scores(sets)] == [
        ["cas", "cas_deviation"],
        ["other", "other_deviation"],
    ]
    trainings = [training for training, _ in called]
    assert [training.train.stem for training in trainings] == ["0", "0", "2", "3"]
    assert [training.seed for training in trainings] == [7, 8, 7, 8]
    assert all(training.config.quiet for training in trainings)
    assert list(tmp_path.iterdir()) == []


def test_files_are_removed_if_the_caller_takes_no_more_scores(worth_processes, called, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scores = AccuracyScorer(score_config(), stripes(4), "test").scores([of_any_seed("cas", stripes(8))] * 3)
    next(scores)
    assert len(list(tmp_path.iterdir())) == 1
    scores.close()
    assert list(tmp_path.iterdir()) == []


def processes_of(trainings, **changes):
    return AccuracyScorer(score_config(**changes), stripes(4), "test")._num_processes(trainings, 64)


def test_processes_are_as_many_as_trainings_and_cores(worth_processes):
    assert [processes_of(trainings) for trainings in (1, 2, 3, 9)] == [1, 2, 3, 3]


def test_processes_are_no_more_than_the_memory_has_room_for(worth_processes, monkeypatch):
    for free, processes in ((0, 1), (1_300_000_000, 2), (10**12, 3)):
        monkeypatch.setattr(Compute, "free_memory", property(lambda _, free=free: free))
        assert processes_of(9) == processes


def test_trainings_on_a_gpu_or_of_a_launcher_stay_in_this_process(worth_processes, monkeypatch):
    assert processes_of(3, compute=Compute(torch.device("meta"))) == 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert processes_of(3) == 3
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_of(3) == 1


def test_short_trainings_stay_in_this_process(monkeypatch):
    monkeypatch.setattr(accuracy_score, "available_cores", lambda: 3)
    assert processes_of(3) == 1
    assert processes_of(3, section=score_config().section.with_steps(100_000)) == 3
    assert processes_of(3, section=of_epochs(10)) == 1
    assert processes_of(3, section=of_epochs(1000)) == 3  # of 64 images


def test_choice_has_as_many_of_each_label_as_wanted_or_all_of_them():
    labels = torch.tensor([2, 0, 1, 0, 2, 0, 2, 2])
    chosen = as_many_per_label(labels, torch.tensor([0, 0, 1, 1, 1, 2, -1]), seed=1)
    assert labels[chosen].bincount().tolist() == [2, 1, 1]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(chosen, as_many_per_label(labels, torch.tensor([0, 0, 1, 1, 1, 2]), seed=1))
    assert len(as_many_per_label(labels, torch.tensor([-1]), seed=1)) == 0
